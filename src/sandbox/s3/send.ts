import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Faults } from '../faults.ts';
import type { Reply } from './operation.ts';

const chunkBytes = 256 * 1024;
/** With a limit, this many writes a second at least, so that a change of the limit soon shows. */
const writesPerSecond = 20;

/**
 * Sends bytes of a file at the speed that the reader takes, then ends the response. `faults`, where given, may slow it
 * (s3-slow), stop it (s3-stall) or cut the connection (s3-cut). The file is closed, also when the reader goes away.
 * `sent` hears of each run of bytes.
 */
export async function sendFile(
  response: ServerResponse,
  file: NonNullable<Reply['file']>,
  faults: Faults | undefined,
  sent: (bytes: number) => void,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const cutBytes = faults?.take('s3-cut') ?? Number.POSITIVE_INFINITY;
    const stallBytes = faults?.take('s3-stall') ?? Number.POSITIVE_INFINITY;
    const limit = Math.min(file.length, cutBytes, stallBytes);
    response.flushHeaders();
    await sendBytes(response, file, limit, { faults, sent, signal: gone.signal });
    if (limit === file.length) response.end();
    else if (cutBytes <= stallBytes) response.socket?.destroy();
    else if (!gone.signal.aborted) await once(gone.signal, 'abort');
  } finally {
    await file.handle.close();
  }
}

async function sendBytes(
  response: ServerResponse,
  { handle, start }: NonNullable<Reply['file']>,
  limit: number,
  {
    faults,
    sent,
    signal,
  }: { faults: Faults | undefined; sent: (bytes: number) => void; signal: AbortSignal },
): Promise<void> {
  for (let done = 0; done < limit && !signal.aborted; ) {
    const bytesPerSecond = faults?.peek('s3-slow');
    const size = Math.min(
      limit - done,
      chunkBytes,
      Math.ceil((bytesPerSecond ?? Infinity) / writesPerSecond),
    );
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(size), 0, size, start + done);
    if (bytesRead === 0) throw new Error('the stored object ends early');
    await write(response, buffer.subarray(0, bytesRead), signal);
    done += bytesRead;
    sent(bytesRead);
    if (bytesPerSecond !== undefined) await pause((bytesRead / bytesPerSecond) * 1000, signal);
  }
}

/** Resolves when the bytes are on their way, or the reader is gone. */
async function write(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  if (response.write(bytes) || signal.aborted) return;
  await once(response, 'drain', { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
