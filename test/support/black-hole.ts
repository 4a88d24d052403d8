/** A port whose queue is full: further connections hang, as they do where packets are dropped. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { program } from './tools.ts';

export const python = program('python3');

export interface BlackHole extends AsyncDisposable {
  port: number;
}

// Neither Bun nor Node can listen without taking connections.
const listener = `
import socket, sys
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(0)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
`;

export async function blackHole(): Promise<BlackHole> {
  const child = spawn(python.path, ['-c', listener], { stdio: ['pipe', 'pipe', 'inherit'] });
  const fillers: Socket[] = [];
  const close = async (): Promise<void> => {
    for (const socket of fillers) socket.destroy();
    child.kill();
  };
  try {
    const [line] = await once(child.stdout, 'data');
    const port = Number(String(line));
    while (await connects(port, fillers)) {
      if (fillers.length > 20) throw new Error('the queue of the port does not fill');
    }
    return { port, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether one more connection is taken; it stays open. */
function connects(port: number, fillers: Socket[]): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    fillers.push(socket);
    socket.on('error', () => undefined);
    socket.once('connect', () => resolve(true));
    socket.setTimeout(500, () => resolve(false));
  });
}
