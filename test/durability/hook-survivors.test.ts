/** Hooks that outlive an agent that was killed: none runs beside a later one. With the compiled executable. */
import { expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileId } from '../../src/io/part.ts';
import { strace } from '../support/durability-faults.ts';
import { hooked, stateOf } from '../support/hook.ts';
import { program, toolTest } from '../support/tools.ts';
import { executable, Run, sha256, until, type World } from '../support/world.ts';

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

test.each([
  ['no longer has one', {}],
  ['is elsewhere', { path: 'elsewhere' }],
])('the hook of a killed agent is ended at the next start though its file %s by then', (_, change) =>
  hooked(alone, async (world) => {
    await world.put('a', body);
    const first = await world.start();
    await until('the hook', () => begun(world).length === 1);
    await first.stop('SIGKILL');
    const [hook = ''] = begun(world);
    expect(lives(hook)).toBe(true);
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    config.files = [{ property: 's3', path: 'tmpfile', ...change }];
    writeFileSync(world.device.configPath, JSON.stringify(config));
    const second = await world.run();
    await second.logged('A hook had outlived an earlier agent, and was ended');
    expect(lives(hook)).toBe(false);
    await world.inSync(sha256(body));
    expect(notes(world)).toEqual([]);
  }),
);

test('a rollback ends the hook of a killed agent before it puts anything back', () =>
  hooked(`[ -n "$SHADOW_AGENT_ROLLBACK" ] && exit 0\n${alone}`, async (world) => {
    writeFileSync(world.path('go'), '');
    await world.put('a', body);
    const agent = await world.start();
    await world.inSync(sha256(body));
    rmSync(world.path('go'));
    await world.put('b', 'other\n');
    await until('the hook', () => begun(world).length === 2);
    await agent.stop('SIGKILL');
    const run = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await run.exit, run.log).toBe(0);
    expect(run.log).toMatch(/A hook had outlived [\s\S]*Put the file before back/);
    expect(begun(world).some(lives)).toBe(false);
    expect(stateOf(world)).not.toContain('"pending"');
  }));
