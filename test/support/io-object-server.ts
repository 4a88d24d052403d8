import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

/** A request as it came over the wire. */
export interface WireRequest {
  method: string;
  /** The request target, not decoded. */
  target: string;
  /** By lower-case name. */
  headers: Record<string, string>;
  /** Resolves when the connection is gone. */
  closed: Promise<void>;
}

/** Answers one request by writing to its socket whatever it likes. */
export type Answer = (socket: Socket, request: WireRequest) => void;

/** A server on loopback whose every byte is scripted: each request takes the next answer of the script. */
export class ObjectServer {
  readonly requests: WireRequest[] = [];
  /** Answers for the requests to come; when none is left, `otherwise` answers. */
  script: Answer[] = [];
  otherwise: Answer = (socket) => socket.end('HTTP/1.1 599 Not scripted\r\ncontent-length: 0\r\n\r\n');
  readonly origin: string;
  readonly port: number;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('The server listens on no port');
    this.port = address.port;
    this.origin = `${scheme}://127.0.0.1:${address.port}`;
  }

  /** Listens on a free port, with TLS where a server certificate is given. */
  static async start(tls?: { cert: string; key: string }): Promise<ObjectServer> {
    const server = tls === undefined ? createServer() : createTlsServer(tls);
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const started = new ObjectServer(server, tls === undefined ? 'http' : 'https');
    const event = tls === undefined ? 'connection' : 'secureConnection';
    server.on(event, (socket: Socket) => started.#serve(socket));
    return started;
  }

  #serve(socket: Socket): void {
    this.#open.add(socket);
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => {
        this.#open.delete(socket);
        resolve();
      });
    });
    let head = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1');
      for (let end = head.indexOf('\r\n\r\n'); end >= 0; end = head.indexOf('\r\n\r\n')) {
        const request = { ...parseHead(head.slice(0, end)), closed };
        head = head.slice(end + 4);
        this.requests.push(request);
        (this.script.shift() ?? this.otherwise)(socket, request);
      }
    });
  }

  close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}

function parseHead(head: string): { method: string; target: string; headers: Record<string, string> } {
  const [first = '', ...lines] = head.split('\r\n');
  const [method = '', target = ''] = first.split(' ');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const at = line.indexOf(':');
    headers[line.slice(0, at).toLowerCase()] = line.slice(at + 1).trim();
  }
  return { method, target, headers };
}

/** The head of an answer, ready to be written. */
export function head(status: number, headers: Record<string, string | number> = {}): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Scripted\r\nconnection: close\r\n${lines.join('')}\r\n`;
}

export interface StoredObject {
  bytes: Uint8Array;
  etag: string;
  headers?: Record<string, string>;
}

/** What S3 does: whole or from an offset, with its conditions. Source: aws S3 API reference, GetObject. */
export function s3Answer({ bytes, etag, headers = {} }: StoredObject): Answer {
  return (socket, request) => {
    const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch, range } = request.headers;
    const offset = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    if (ifMatch !== undefined && ifMatch !== etag)
      return void xml(412, 'PreconditionFailed')(socket, request);
    if (ifNoneMatch === etag) return void socket.end(head(304, { etag }));
    if (range !== undefined && offset >= bytes.length) return void xml(416, 'InvalidRange')(socket, request);
    const body = bytes.subarray(offset);
    const facts = { etag, 'accept-ranges': 'bytes', 'content-length': body.length, ...headers };
    const start =
      range === undefined
        ? head(200, facts)
        : head(206, {
            ...facts,
            'content-range': `bytes ${offset}-${bytes.length - 1}/${bytes.length}`,
          });
    socket.write(start);
    socket.end(body);
  };
}

/** A 206 whose Content-Range is told, or left out. */
export function partial(body: Uint8Array, etag: string, contentRange?: string): Answer {
  return plain(206, body, { etag, ...(contentRange === undefined ? {} : { 'content-range': contentRange }) });
}

/** A plain answer with a Content-Length that is right unless the headers say another. */
export function plain(
  status: number,
  body: Uint8Array | string,
  headers: Record<string, string | number> = {},
): Answer {
  return (socket) => {
    socket.write(head(status, { 'content-length': body.length, ...headers }));
    socket.end(body);
  };
}

/** An error answer of S3. */
export function xml(status: number, code: string, inner = '', headers: Record<string, string> = {}): Answer {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code>${inner}<RequestId>4442587FB7D0A2F9</RequestId></Error>`;
  return plain(status, Buffer.from(text), { 'content-type': 'application/xml', ...headers });
}

/** A chunked answer: it never tells its length, and it ends cleanly. */
export function chunked(
  status: number,
  chunks: readonly Uint8Array[],
  headers: Record<string, string> = {},
): Answer {
  return (socket) => {
    socket.write(head(status, { 'transfer-encoding': 'chunked', ...headers }));
    for (const chunk of chunks) {
      socket.write(`${chunk.length.toString(16)}\r\n`);
      socket.write(chunk);
      socket.write('\r\n');
    }
    socket.end('0\r\n\r\n');
  };
}

/** Promises a whole object, sends its first bytes, and then does as told with the connection; it may hold it. */
export function brokenOff(
  { bytes, etag }: StoredObject,
  sent: number,
  then: (socket: Socket) => void = () => undefined,
): Answer {
  return (socket) => {
    socket.write(head(200, { etag, 'content-length': bytes.length }));
    socket.write(bytes.subarray(0, sent), () => then(socket));
  };
}

/** Takes the request and never answers. */
export const silent: Answer = () => undefined;
