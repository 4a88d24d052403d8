import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Faults } from '../faults.ts';
import type { Reply } from './operation.ts';

const chunkBytes = 256 * 1024;
/** With a limit, this many writes a second at least, so that a change of the limit soon shows. */
const writesPerSecond = 20;

type FileBody = NonNullable<Reply['file']>;

export interface SendOptions {
  /** The switches that slow the body, end it early in one of several ways, or make it too long. */
  faults: Faults | undefined;
  /** Aborts when the reader goes away, which is no error. */
  signal: AbortSignal;
  /** Hears of each run of bytes. */
  sent: (bytes: number) => void;
}

/** Answers with bytes of a file, at the speed that the reader takes; the file is closed in the end. */
export async function sendFile(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  file: FileBody,
  options: SendOptions,
): Promise<void> {
  try {
    const { faults, signal } = options;
    const { bytes, fault } = endOf(file.length, faults);
    const excess = faults?.take('s3-too-long') ?? 0;
    // Where Content-Range promises the rest, Content-Length may tell the truth about what comes.
    const length = fault === 's3-truncate' && status === 206 ? bytes : file.length + excess;
    response.writeHead(status, { ...headers, 'Content-Length': String(length) });
    response.flushHeaders();
    await sendBytes(response, file, bytes, options);
    if (fault === 's3-cut') response.socket?.destroy();
    else if (fault === 's3-truncate') response.socket?.end();
    else if (fault === undefined) response.end(Buffer.alloc(excess));
    else if (!signal.aborted) await once(signal, 'abort');
  } finally {
    await file.handle.close();
  }
}

const earlyEnds = ['s3-cut', 's3-stall', 's3-truncate'] as const;

/** How much of a body is sent, and the switch that ends it before its time. */
function endOf(
  length: number,
  faults: Faults | undefined,
): { bytes: number; fault?: (typeof earlyEnds)[number] } {
  let end: ReturnType<typeof endOf> = { bytes: length };
  for (const fault of earlyEnds) {
    const bytes = faults?.take(fault);
    if (bytes !== undefined && bytes < end.bytes) end = { bytes, fault };
  }
  return end;
}

async function sendBytes(
  response: ServerResponse,
  { handle, start }: FileBody,
  limit: number,
  { faults, sent, signal }: SendOptions,
): Promise<void> {
  for (let done = 0; done < limit && !signal.aborted; ) {
    const bytesPerSecond = faults?.peek('s3-slow');
    const slice = bytesPerSecond === undefined ? chunkBytes : Math.ceil(bytesPerSecond / writesPerSecond);
    const size = Math.min(limit - done, chunkBytes, Math.max(1, slice));
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
