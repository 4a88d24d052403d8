/** Has a hook started by a process that has no file descriptor left for it, and prints what comes of that. */
import { closeSync, openSync } from 'node:fs';
import { runHook } from '../../src/io/hook.ts';

const [notePath = '', program = ''] = process.argv.slice(2);
const taken: number[] = [];
try {
  for (;;) taken.push(openSync('/dev/null', 'r'));
} catch {
  // One is enough for all but the start itself.
  closeSync(taken.pop() ?? -1);
}
const run = await runHook({
  command: [program],
  timeoutSeconds: 10,
  env: {},
  onLine: () => undefined,
  notePath,
  signal: new AbortController().signal,
}).catch((error: NodeJS.ErrnoException) => ({ thrown: error.code }));
for (const fd of taken) closeSync(fd);
process.stdout.write(`${JSON.stringify(run)}\n`);
