import type { AddressInfo, Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import type { Pki } from './pki.ts';

export interface TlsListenerOptions {
  pki: Pki;
  /** 0 or absent: any free port. */
  port?: number;
  /** Demand a client certificate of the sandbox's authority. */
  mutual: boolean;
  alpnProtocols: string[];
}

export interface TlsListener {
  port: number;
  /** Stops listening and ends every connection at once. */
  close(): Promise<void>;
}

/** Listens on 127.0.0.1 with TLS 1.2 or newer and hands over each connection whose handshake has succeeded. */
export async function listenTls(
  { pki, port = 0, mutual, alpnProtocols }: TlsListenerOptions,
  onSocket: (socket: TLSSocket) => void,
): Promise<TlsListener> {
  const open = new Set<Socket>();
  const track = (socket: Socket): void => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    // A peer that resets the connection is everyday life for a server.
    socket.on('error', () => undefined);
  };
  const server = createServer({
    ...pki.server,
    ca: pki.caCert,
    requestCert: mutual,
    rejectUnauthorized: mutual,
    ALPNProtocols: alpnProtocols,
    minVersion: 'TLSv1.2',
  });
  server.on('connection', track);
  server.on('secureConnection', (socket) => {
    track(socket);
    onSocket(socket);
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: portOf(server.address()),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server listens on no TCP port');
  return address.port;
}
