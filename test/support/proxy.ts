import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What a proxy does with a CONNECT: carries it, says this instead (and ends or stays), or ends the connection. */
export type ProxyAnswer = 'carry' | 'silence' | 'cut' | 'carry and cut' | { say: string } | { write: string };

/** A forward proxy on loopback that does what a test tells it. Where the name it is asked for leads is the test's. */
export class ScriptedProxy {
  readonly port: number;
  /** The head of each request. */
  readonly heads: string[] = [];
  answer: ProxyAnswer = 'carry';
  /** What comes before the answer that it carries. */
  interim = '';
  /** Ports that it lets nobody out to. */
  readonly closed = new Set<number>();
  /** Port of loopback that every tunnel leads to; by default the one that was asked for. */
  target: number | undefined;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    server.on('connection', (socket) => this.#take(socket));
  }

  static async start(): Promise<ScriptedProxy> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('there is no port');
    return new ScriptedProxy(server, address.port);
  }

  #take(client: Socket): void {
    this.#track(client);
    client.once('data', (chunk) => {
      const head = chunk.toString('latin1');
      this.heads.push(head);
      const { answer } = this;
      const to = Number(/^CONNECT \S+:(\d+) /.exec(head)?.[1]);
      if (this.closed.has(to)) return void client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      if (answer === 'silence') return;
      if (answer === 'cut') return void client.destroy();
      if (typeof answer === 'object' && 'write' in answer) return void client.write(answer.write);
      if (typeof answer === 'object') return void client.end(answer.say);
      if (this.interim !== '') client.write(this.interim);
      client.write('HTTP/1.1 200 Connection established\r\nX-More: yes\r\n\r\n');
      if (answer === 'carry and cut') return void client.end();
      const server = connect(this.target ?? to, '127.0.0.1');
      this.#track(server);
      client.pipe(server).pipe(client);
      client.once('close', () => server.destroy());
      server.once('close', () => client.destroy());
    });
  }

  #track(socket: Socket): void {
    this.#open.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#open.delete(socket));
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
