import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A link on loopback to a server: what goes over it is counted, and it can be down. */
export class Relay {
  readonly port: number;
  /** Bytes that went to the client. */
  bytesDown = 0;
  readonly #target: number;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;

  private constructor(port: number, target: number) {
    this.port = port;
    this.#target = target;
  }

  /** Takes a free port for a link to another port of loopback. The link is down at first. */
  static async to(target: number): Promise<Relay> {
    const port = await freePort();
    return new Relay(port, target);
  }

  /** From now on connections are taken. */
  async up(): Promise<void> {
    this.#server = createServer((client) => this.#carry(client));
    this.#server.listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** Carries nothing more, and ends nothing: a half-open link. */
  freeze(): void {
    for (const socket of this.#open) socket.pause();
  }

  /** Ends every connection; new ones are refused. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#open) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #carry(client: Socket): void {
    const server = connect(this.#target, '127.0.0.1');
    const both = [client, server] as const;
    for (const socket of both) {
      this.#open.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.#open.delete(socket);
        for (const other of both) other.destroy();
      });
    }
    server.on('data', (chunk) => {
      this.bytesDown += chunk.length;
    });
    client.pipe(server);
    server.pipe(client);
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('there is no port');
  return address.port;
}
