/**
 * A link to a port of loopback that has a round-trip time and a speed, for each connection. In a process of its own,
 * so that it keeps its pace whatever else is measured:
 *
 *   bun slow-link.ts TARGET_PORT RTT_MS BYTES_PER_SECOND
 *
 * prints the port it listens on. A connection costs a round trip, as TCP's handshake does; there is no slow start and
 * no loss.
 */
import { connect, createServer, type Socket } from 'node:net';

const [target = 0, rttMs = 0, bytesPerSecond = 0] = process.argv.slice(2).map(Number);
const tickMs = 5;

/** One direction: what comes in goes out half a round trip later, no faster than the link. */
function carry(from: Socket, to: Socket): void {
  const queue: Array<{ bytes: Buffer; atMs: number }> = [];
  const mostBytes = Math.max(1024 * 1024, (bytesPerSecond * rttMs) / 1000);
  let queuedBytes = 0;
  let freeAtMs = 0;
  let ended = false;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    while (queue[0] !== undefined && queue[0].atMs <= nowMs) {
      const { bytes } = queue.shift() ?? { bytes: Buffer.alloc(0) };
      queuedBytes -= bytes.length;
      if (!to.write(bytes)) {
        to.once('drain', () => from.resume());
      }
    }
    if (queuedBytes < mostBytes && to.writableLength < mostBytes) from.resume();
    if (ended && queue.length === 0) {
      clearInterval(timer);
      to.end();
    }
  }, tickMs);
  from.on('data', (bytes: Buffer) => {
    const nowMs = performance.now();
    const startMs = Math.max(freeAtMs, nowMs);
    freeAtMs = startMs + (bytes.length / bytesPerSecond) * 1000;
    queue.push({ bytes, atMs: freeAtMs + rttMs / 2 });
    queuedBytes += bytes.length;
    if (queuedBytes >= mostBytes) from.pause();
  });
  from.once('end', () => {
    ended = true;
  });
  from.once('close', () => {
    ended = true;
  });
  to.once('close', () => clearInterval(timer));
}

const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
  setTimeout(() => {
    const upstream = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
    client.once('close', () => upstream.destroy());
    carry(client, upstream);
    carry(upstream, client);
    client.resume();
  }, rttMs);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address !== 'string') process.stdout.write(`${address.port}\n`);
});
