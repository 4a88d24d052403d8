/** A TLS server of another authority before one of the sandbox's services, which can change its authority as it runs. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { freePort } from './free-port.ts';
import type { World } from './world.ts';

export class TlsFront implements AsyncDisposable {
  readonly port: number;
  /** Handshakes that were ended well; those that the client broke off are not counted. */
  connections = 0;
  readonly #target: number;
  readonly #identity: { cert: string; key: string; ca: string };
  readonly #open = new Set<TLSSocket>();
  #server: Server | undefined;

  private constructor(port: number, target: number, identity: { cert: string; key: string; ca: string }) {
    this.port = port;
    this.#target = target;
    this.#identity = identity;
  }

  /** To the service at `target`, which sees the device's own certificate. It does not listen before `serve`. */
  static async to(world: World, target: number): Promise<TlsFront> {
    const read = (name: string) => readFile(join(world.device.dir, name), 'utf8');
    const [cert, key] = await Promise.all([read('certificate.pem'), read('private.key')]);
    return new TlsFront(await freePort(), target, { cert, key, ca: world.sandbox.pki.caCert });
  }

  /** Ends every connection; new ones meet this certificate. */
  async serve(tls: TlsOptions): Promise<void> {
    await this[Symbol.asyncDispose]();
    const server = createServer(tls, (socket) => this.#carry(socket));
    server.on('tlsClientError', () => undefined);
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#open) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #carry(client: TLSSocket): void {
    this.connections += 1;
    const service = connect({ host: '127.0.0.1', port: this.#target, ...this.#identity });
    for (const socket of [client, service]) {
      this.#open.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.#open.delete(socket);
        client.destroy();
        service.destroy();
      });
    }
    client.pipe(service).pipe(client);
  }
}
