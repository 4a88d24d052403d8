import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { freePort } from './free-port.ts';

/** A link on loopback to a server: it can be down, slow, half-open or cut short. */
export class Relay {
  readonly port: number;
  /** When each connection was taken, by the clock of `performance`. */
  readonly takenMs: number[] = [];
  /** A connection ends after so many bytes to the client. */
  cutAfterBytes = Number.POSITIVE_INFINITY;
  /** A connection carries nothing more after so many bytes to the client, and does not end. */
  freezeAfterBytes = Number.POSITIVE_INFINITY;
  /** Connections that have come to that. */
  halfOpen = 0;
  /** What a chunk takes on its way to the client. */
  delayMs = 0;
  readonly #target: number;
  readonly #host: string;
  readonly #open = new Set<Socket>();
  readonly #frozen = new Set<Socket>();
  #server: Server | undefined;

  private constructor(port: number, target: number, host = '127.0.0.1') {
    this.port = port;
    this.#host = host;
    this.#target = target;
  }

  /** Takes a free port for a link to another port of loopback. The link is down at first. */
  static async to(target: number): Promise<Relay> {
    const port = await freePort();
    return new Relay(port, target);
  }

  /** A link at a port of its own, and at another address of loopback where that is wanted. */
  static at(port: number, target: number, host = '127.0.0.1'): Relay {
    return new Relay(port, target, host);
  }

  /** Connections that were taken. */
  get connections(): number {
    return this.takenMs.length;
  }

  /** From now on connections are taken. */
  async up(): Promise<void> {
    if (this.#server !== undefined) return;
    this.#server = await this.#listening();
  }

  /** A program that was started just as the link went down may keep its port in use for a moment. */
  async #listening(): Promise<Server> {
    for (const deadlineMs = performance.now() + 5_000; ; ) {
      const server = createServer((client) => this.#carry(client));
      try {
        server.listen(this.port, this.#host);
        await once(server, 'listening');
        return server;
      } catch (error) {
        if (performance.now() > deadlineMs) throw error;
        await setImmediate();
      }
    }
  }

  /** Carries nothing more, and ends nothing: a half-open link. */
  freeze(): void {
    this.#freeze(this.#open);
  }

  #freeze(sockets: Iterable<Socket>): void {
    for (const socket of sockets) {
      socket.pause();
      this.#frozen.add(socket);
    }
  }

  /** Ends what was frozen. */
  endFrozen(): void {
    for (const socket of this.#frozen) socket.destroy();
    this.#frozen.clear();
  }

  /** Ends every connection by a reset; new ones are taken. */
  reset(): void {
    for (const socket of this.#open) socket.resetAndDestroy();
  }

  /** Ends every connection; new ones are refused. */
  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#open) socket.destroy();
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #carry(client: Socket): void {
    this.takenMs.push(performance.now());
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
    let sent = 0;
    server.on('data', (chunk: Buffer) => {
      if (sent + chunk.length > this.freezeAfterBytes) {
        this.halfOpen += 1;
        this.#freeze(both);
        return;
      }
      const rest = chunk.subarray(0, Math.max(0, this.cutAfterBytes - sent));
      sent += chunk.length;
      const pass = () => {
        if (!client.destroyed) client.write(rest);
        if (sent >= this.cutAfterBytes) client.end();
      };
      if (this.delayMs > 0) setTimeout(pass, this.delayMs);
      else pass();
    });
    server.once('end', () => client.end());
    client.pipe(server);
  }
}
