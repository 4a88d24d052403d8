/** Servers with a good certificate and bad intentions, for the executable. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type TlsOptions } from 'node:tls';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import type { Run, World } from './world.ts';

export interface HostileServer extends AsyncDisposable {
  port: number;
  connections: number;
  /** Bytes that the agent took. */
  written: number;
}

/** Listens with the sandbox's own server certificate, and hands each connection to `attack` when its first bytes are there. */
export async function hostileServer(
  world: World,
  attack: (socket: Socket, head: string) => void,
  tls: TlsOptions = {},
): Promise<HostileServer> {
  const open = new Set<Socket>();
  const server = createServer({ ...world.sandbox.pki.server, ...tls });
  const hostile: HostileServer = {
    port: 0,
    connections: 0,
    written: 0,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
  server.on('tlsClientError', () => undefined);
  server.on('secureConnection', (socket) => {
    hostile.connections += 1;
    open.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      hostile.written += socket.bytesWritten;
      open.delete(socket);
    });
    socket.once('data', (head: Buffer) => attack(socket, head.toString('latin1')));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  hostile.port = (server.address() as AddressInfo).port;
  return hostile;
}

/** Changes what agent.json says. */
export function configure(world: World, change: (config: JsonObject) => JsonObject): void {
  const config: JsonValue = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
  if (!isJsonObject(config)) throw new Error('agent.json holds no object');
  writeFileSync(world.device.configPath, JSON.stringify(change(config)));
}

/** Writes the same bytes as long as the other side takes them. */
export function pourForEver(socket: Socket, bytes: Buffer): void {
  const pour = () => {
    // One at a time: a loop would never let the other end of the connection, or its close, be heard.
    if (socket.writable && socket.write(bytes)) setImmediate(pour);
  };
  socket.on('drain', pour);
  pour();
}

/** The most memory that a run has ever had, in MiB. */
export function peakMiB(run: Run): number {
  const status = readFileSync(`/proc/${run.child.pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024);
}
