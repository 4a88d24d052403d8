/** libfaketime: a clock of its own for the device. Waits stay on the true monotonic clock. */
import { join } from 'node:path';
import { fileOf } from './tools.ts';
import { type Command, executable } from './world.ts';

const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
export const libfaketime = fileOf(join('/usr/lib', triplet, 'faketime', 'libfaketime.so.1'), 'libfaketime');

/**
 * The executable with a wall clock that goes wrong by what is written in a file, read anew at each look at the clock:
 * `-400d`, `+1h`, or `@1970-01-02 00:00:00` for a clock that starts there.
 */
export async function withClockOf(file: string): Promise<Command> {
  return [
    'env',
    `LD_PRELOAD=${libfaketime.path}`,
    `FAKETIME_TIMESTAMP_FILE=${file}`,
    'FAKETIME_NO_CACHE=1',
    'FAKETIME_DONT_FAKE_MONOTONIC=1',
    'NO_FAKE_STAT=1',
    await executable(),
  ];
}
