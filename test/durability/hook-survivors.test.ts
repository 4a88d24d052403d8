/** Hooks that outlive an agent that was killed: none runs beside a later one. With the compiled executable. */
import { expect } from 'bun:test';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileId } from '../../src/io/part.ts';
import { strace } from '../support/durability-faults.ts';
import { hooked } from '../support/hook.ts';
import { program, toolTest } from '../support/tools.ts';
import { executable, Run, until, type World } from '../support/world.ts';

const body = 'body\n';
const limitMs = 240_000;

/** Tells of a run that begins while another one is there, which the lock of both ends with. */
const alone = `exec 9>lock
"${program('flock', 'util-linux').path}" -n 9 || echo beside >>beside
echo "start $$" >>order
i=0; while [ ! -e go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i + 1)); done
echo "end $$" >>order`;

const begun = (world: World) => (world.file('order') ?? '').split('\n').filter((line) => /^start/.test(line));
function notes(world: World): string[] {
  const directory = join(world.device.dir, 'state');
  const names = existsSync(directory) ? readdirSync(directory) : [];
  return names.filter((name) => name.startsWith('hook.'));
}

function lives(line: string): boolean {
  const path = `/proc/${/\d+/.exec(line)?.[0]}/status`;
  return existsSync(path) && !/^State:\s+Z/m.test(readFileSync(path, 'utf8'));
}

/** The process of the hook that is noted last. */
function notedPid(world: World): string | undefined {
  const [name = ''] = notes(world);
  const text = name === '' ? '' : readFileSync(join(world.device.dir, 'state', name), 'utf8');
  return /^(\d+) \d+$/m.exec(text)?.[1];
}

/** Runs the agent until it is killed before the nth call of a kind on the note of its hook. */
async function killedAtNote(world: World, call: string, nth: number): Promise<void> {
  const note = join(world.device.dir, 'state', `hook.${fileId('s3', world.path())}`);
  const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${nth}`];
  // Not -f: the hook must not be traced, or it would end with strace.
  const args = ['-D', '-qq', '-o', world.path('strace'), '-P', note, ...inject];
  const agent = [await executable(), '--config', world.device.configPath];
  const run = new Run(strace.path, [...args, ...agent], world.device.dir);
  world.runs.push(run);
  await until('the kill', () => run.child.signalCode === 'SIGKILL');
}

toolTest(
  [strace],
  'an agent may be killed before it writes down that a hook is to start, or has: no run is beside another one',
  async () => {
    for (const nth of [1, 2]) {
      for (const call of ['openat', 'write']) {
        await hooked(alone, async (world) => {
          await world.put('a', body);
          await killedAtNote(world, call, nth);
          // It is there by then, if it was started at all.
          await until('the hook', () => nth === 1 || begun(world).length === 1);
          const second = await world.run();
          const isBeside = () => world.file('beside') !== undefined;
          await until('the next run', () => isBeside() || begun(world).includes(`start ${notedPid(world)}`));
          expect(isBeside(), second.log).toBe(false);
          expect(begun(world).filter(lives).length).toBe(1);
          await second.stop();
        });
      }
    }
  },
  limitMs,
);
