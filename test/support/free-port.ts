import { connect } from 'node:net';

// Below those that Linux gives to whoever names none: a connection that is made meanwhile does not take it.
const first = 20_000;
const count = 12_000;
const given = new Set<number>();

/**
 * A port of loopback for a server that is started, or started anew, later. It is asked whether somebody listens there, and
 * not listened on: a program that is started at that moment would keep the port in use.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + Math.floor(Math.random() * count);
    if (given.has(port) || (await isTaken(port))) continue;
    given.add(port);
    return port;
  }
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
