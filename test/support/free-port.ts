import { once } from 'node:events';
import { createServer } from 'node:net';

// Below those that Linux gives to whoever names none: a connection that is made meanwhile does not take it.
const first = 20_000;
const count = 12_000;
const given = new Set<number>();

/** A port of loopback for a server that is started, or started anew, later. Nobody is given it twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + Math.floor(Math.random() * count);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}
