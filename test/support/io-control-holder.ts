/**
 * Run as a process of its own: says that it is ready, waits for a line, takes the state directory argv[2], says how that
 * went, and holds it.
 */
import { once } from 'node:events';
import { takeControl } from '../../src/io/control.ts';

process.stdout.write('ready\n');
await once(process.stdin, 'data');
try {
  await takeControl(process.argv[2] ?? '', () => ({ pid: process.pid }));
  process.stdout.write(`held ${process.pid}\n`);
  setInterval(() => undefined, 60_000);
} catch (error) {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  process.stdout.write(`refused ${code}\n`);
}
