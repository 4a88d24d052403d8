/** `shadow-agent rollback PROPERTY`, with the agent running or not. With the compiled executable. */
import { expect, test } from 'bun:test';
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { blockOf } from '../support/documents.ts';
import { hooked, hookRuns } from '../support/hook.ts';
import { bucketName, noise, type Run, scenario, sha256, until, type World } from '../support/world.ts';

const one = 'one\n';
const two = 'two\n';
const three = 'three\n';

async function rollback(world: World, property = 's3'): Promise<Run> {
  const run = await world.run(['rollback', property, '--config', world.device.configPath]);
  await run.exit;
  return run;
}

/** Has `one` replaced by `two`. */
async function updated(world: World): Promise<Run> {
  await world.put('1', one);
  const run = await world.start();
  await world.inSync(sha256(one));
  await world.put('2', two);
  await world.inSync(sha256(two));
  return run;
}

const isHeld = (world: World, text = two) =>
  world.hasStatus({ status: 'waiting', code: 'HELD', hash: sha256(text) });

test('the command of the README does it, in the directory of agent.json', () =>
  scenario(async (world) => {
    await updated(world);
    const [program, ...args] = blockOf('Rollback').split(' ');
    expect(program).toBe('shadow-agent');
    const run = await world.run(args);
    expect(await run.exit, run.log).toBe(0);
    expect(world.file()).toBe(one);
  }));

test.each<[string, JsonObject | null]>([
  ['nothing is desired', null],
  ['what is desired cannot be taken', { url: 'http://elsewhere', hash: sha256(three) }],
])('where %s the shadow mirrors what a rollback has put back, and the hold is told', (_, value) =>
  scenario(async (world) => {
    await updated(world);
    world.desire({ s3: value });
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(world.file()).toBe(one);
    await until('the mirror', () => JSON.stringify(world.reported('s3')).includes(sha256(one)));
    if (value === null) {
      await isHeld(world);
      const told = await world.run(['status', '--config', world.device.configPath, '--json']);
      expect(await told.exit).toBe(1);
      expect(JSON.parse(told.output).files.s3).toMatchObject({ status: 'none', error: { code: 'HELD' } });
    } else await world.hasStatus({ status: 'failed', code: 'DESIRED_INVALID' });
  }),
);

test('back to what is desired by now, that is not held: it is current, and repaired when it was changed', () =>
  scenario(
    async (world) => {
      await updated(world);
      world.desire({ s3: { url: `s3://${bucketName}/not-there`, hash: sha256(one) } });
      await world.hasStatus({ code: 'S3_NOT_FOUND' });
      const run = await rollback(world);
      expect(run.child.exitCode, run.log).toBe(0);
      expect(run.output).not.toContain('held');
      await world.inSync(sha256(one));
      world.desire({ s3: { url: `s3://${bucketName}/1` } });
      await world.inSync(sha256(one));
      writeFileSync(world.path(), 'changed\n');
      await until('the repair', () => world.file() === one);
    },
    { config: { resyncSeconds: 1 } },
  ));

test('with the agent running: the previous file is back and held, over restarts, until another hash is desired', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(run.output).toBe(
      `s3: ${world.path()} is back to ${sha256(one)}\n${sha256(two)} is held until another hash is desired\n`,
    );
    expect(world.file()).toBe(one);
    await isHeld(world);
    await until('the mirror', () => JSON.stringify(world.reported('s3')).includes(sha256(one)));
    expect(world.reported('s3')).toMatchObject({ hash: sha256(one) });
    await agent.stop();
    const again = await world.run();
    await again.logged('Connected to AWS IoT');
    // The same hash anew is no other one.
    await world.put('2', two);
    await isHeld(world);
    expect(world.file()).toBe(one);
    expect(world.gets().length).toBe(2);
    await world.put('3', three);
    await world.inSync(sha256(three));
    expect(world.file()).toBe(three);
    await world.put('2', two);
    await world.inSync(sha256(two));
  }));

test('without an agent: the same, and the agent that starts then holds it', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    await agent.stop();
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(run.output).toContain(`is back to ${sha256(one)}\n`);
    expect(world.file()).toBe(one);
    await world.run();
    await isHeld(world);
    await until('the mirror', () => JSON.stringify(world.reported('s3')).includes(sha256(one)));
    expect(world.file()).toBe(one);
    expect(world.gets().length).toBe(2);
    await world.put('3', three);
    await world.inSync(sha256(three));
  }));

test('a second one in a row says that nothing older is kept', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    await rollback(world);
    for (const isRunning of [true, false]) {
      if (!isRunning) await agent.stop();
      const second = await rollback(world);
      expect(second.child.exitCode).toBe(1);
      expect(second.log).toMatch(
        /^error: HELD: s3: It was rolled back already, and nothing older is kept\nhint: /m,
      );
      expect(second.log).not.toContain('    at ');
      expect(world.file()).toBe(one);
    }
  }));

test('where no previous file is kept, it says why and what to do', () =>
  scenario(async (world) => {
    await world.put('1', one);
    const agent = await world.start();
    await world.inSync(sha256(one));
    for (const isRunning of [true, false]) {
      if (!isRunning) await agent.stop();
      const run = await rollback(world);
      expect(run.child.exitCode).toBe(1);
      expect(run.log).toMatch(/^error: .*s3: No previous file is kept\nhint: .*keepPrevious/m);
      expect(world.file()).toBe(one);
    }
  }));

test('before the first start of the agent it says the same, and leaves no state directory of another user behind', () =>
  scenario(async (world) => {
    const run = await rollback(world);
    expect(run.child.exitCode).toBe(1);
    expect(run.log).toMatch(/^error: INSTALL: s3: No previous file is kept\nhint: /m);
    expect(existsSync(world.path('state'))).toBe(false);
  }));

test('a previous file that is not what was kept is not put back', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    const directory = join(world.device.dir, 'state', 'previous');
    for (const name of readdirSync(directory)) {
      unlinkSync(join(directory, name));
      writeFileSync(join(directory, name), 'rubbish');
    }
    const run = await rollback(world);
    expect(run.child.exitCode).toBe(1);
    expect(run.log).toMatch(/^error: .*is not what was kept\nhint: /m);
    expect(world.file()).toBe(two);
    expect(agent.child.exitCode).toBeNull();
    expect(world.status()['status']).toBe('current');
  }));

test.each<[string, JsonObject, string, RegExp]>([
  ['there is none', {}, '', /INSTALL: s3: No previous file is kept/],
  ['none is to be kept', { keepPrevious: false }, one, /INSTALL: s3: No previous file is kept/],
  ['it is spoilt', {}, one, /INSTALL: s3: the previous file in \S+ is not what was kept/],
])(
  'one that is refused, since %s, touches nothing: the hook that runs goes on, however often it is asked for',
  (why, file, before, refusal) =>
    hooked(
      'until [ -e go ] || ! grep -q two "$SHADOW_AGENT_PATH"; do sleep 0.1; done',
      async (world) => {
        await world.start();
        if (before !== '') {
          await world.put('1', before);
          await world.inSync(sha256(before));
        }
        await world.put('2', two);
        await until('the hook', () => hookRuns(world).at(-1)?.content === 'two');
        const runs = hookRuns(world).length;
        if (why === 'it is spoilt') writeFileSync(hookRuns(world).at(-1)?.previous ?? '', 'rubbish');
        for (let time = 1; time <= 3; time += 1) {
          const run = await rollback(world);
          expect(run.child.exitCode).toBe(1);
          expect(run.log).toMatch(refusal);
        }
        writeFileSync(world.path('go'), '');
        await world.inSync(sha256(two));
        expect([world.file(), hookRuns(world).length]).toEqual([two, runs]);
      },
      { file },
    ),
);

test('an unknown property is wrong usage, and the nearest one is named', () =>
  scenario(async (world) => {
    const run = await rollback(world, 's33');
    expect(run.child.exitCode).toBe(64);
    expect(run.log).toBe('error: no file has the property "s33"\nhint: did you mean s3?\n');
    const none = await world.run(['rollback', '--config', world.device.configPath]);
    expect(await none.exit).toBe(64);
    expect(none.log).toMatch(/^error: rollback needs a PROPERTY\nhint: /);
  }));

test('a download that is under way is ended, and what it was for is refused', () =>
  scenario(async (world) => {
    await updated(world);
    world.sandbox.faults.set('s3-slow', 100_000);
    const big = noise(10_000_000);
    await world.put('big', big);
    await until('the first bytes', () =>
      world.gets().some(({ bytesSent, key }) => key === 'big' && bytesSent > 0),
    );
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(world.file()).toBe(one);
    await world.hasStatus({ status: 'waiting', code: 'HELD', hash: sha256(big) });
    expect(readdirSync(world.device.dir).filter((name) => name.endsWith('.part'))).toEqual([]);
  }));

test('the hook runs for what is put back, with the agent running or not', () =>
  hooked('exit 0', async (world) => {
    const agent = await updated(world);
    expect((await rollback(world)).child.exitCode).toBe(0);
    expect(hookRuns(world).at(-1)).toMatchObject({ hash: sha256(one), rollback: '1', content: 'one' });
    await world.put('3', three);
    await world.inSync(sha256(three));
    await agent.stop();
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(run.log).toContain('The hook has succeeded');
    const last = hookRuns(world).at(-1);
    expect(last).toMatchObject({ hash: sha256(one), rollback: '1', content: 'one' });
    expect(last?.url).toMatch(/^s3:\/\/.*\/1$/);
  }));

test('a hook that fails for what is put back is told and exits 1, with the agent running or not; the file is back', () =>
  hooked('[ -z "$SHADOW_AGENT_ROLLBACK" ] || { echo broken; exit 9; }', async (world) => {
    const agent = await updated(world);
    for (const isRunning of [true, false]) {
      if (!isRunning) {
        await world.put('2', three);
        await world.inSync(sha256(three));
        await agent.stop();
      }
      const run = await rollback(world);
      expect([run.child.exitCode, run.output]).toEqual([1, '']);
      expect(run.log).toMatch(
        /^error: HOOK_FAILED: s3: The previous file is back and held, but its hook failed: The hook exited with 9: broken\nhint: the output/m,
      );
      expect(world.file()).toBe(one);
      if (isRunning) await isHeld(world);
    }
    await world.run();
    await isHeld(world, three);
    expect(world.file()).toBe(one);
    expect(hookRuns(world).at(-1)?.rollback).toBe('1');
  }));

test('an agent that hangs is told within seconds, and nothing is put back behind its back', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    agent.child.kill('SIGSTOP');
    const startedMs = Date.now();
    const run = await rollback(world);
    expect(Date.now() - startedMs).toBeLessThan(10_000);
    expect([run.child.exitCode, run.output]).toEqual([1, '']);
    expect(run.log).toMatch(
      /^error: TIMEOUT: The agent holds \S+, but does not answer\nhint: it hangs, .*restart/,
    );
    agent.child.kill('SIGCONT');
    expect(world.file()).toBe(two);
    expect((await rollback(world)).child.exitCode).toBe(0);
    expect(world.file()).toBe(one);
  }));

test('a hook that runs is ended, and the file that it was for does not stay', () =>
  hooked(
    '[ -n "$SHADOW_AGENT_ROLLBACK" ] || ! grep -q two "$SHADOW_AGENT_PATH" || sleep 300',
    async (world) => {
      await world.put('1', one);
      await world.start();
      await world.inSync(sha256(one));
      await world.put('2', two);
      await until('the hook', () => hookRuns(world).length === 2);
      const run = await rollback(world);
      expect(run.child.exitCode, run.log).toBe(0);
      expect(world.file()).toBe(one);
      await isHeld(world);
      expect(hookRuns(world).map(({ content, rollback: back }) => content + back)).toEqual([
        'one',
        'two',
        'one1',
      ]);
    },
  ));

test.each([['running'], ['down']])(
  'a way back that a failed hook could not go is a rollback once somebody asks for one, with the agent %s',
  (how) =>
    hooked('! grep -q two "$SHADOW_AGENT_PATH" || { mv state/previous away; exit 1; }', async (world) => {
      const before = await world.start();
      await world.put('1', one);
      await world.inSync(sha256(one));
      await world.put('2', two);
      await world.hasStatus({ status: 'failed', code: 'INSTALL', hash: sha256(two) });
      if (how === 'down') await before.stop();
      renameSync(world.path('away'), world.path('state/previous'));
      const run = await rollback(world);
      expect(run.child.exitCode, run.log).toBe(0);
      expect(run.output).toContain(`${sha256(two)} is held until another hash is desired\n`);
      expect(world.file()).toBe(one);
      if (how === 'down') await world.run();
      await isHeld(world);
      await world.put('3', three);
      await world.inSync(sha256(three));
    }),
);

test.each([['running'], ['killed during the hook']])(
  'behind one that has ended a hook nothing older is kept either, with the agent %s',
  (how) =>
    hooked(
      '[ -n "$SHADOW_AGENT_ROLLBACK" ] || ! grep -q three "$SHADOW_AGENT_PATH" || sleep 300',
      async (world) => {
        const agent = await updated(world);
        await world.put('3', three);
        await until('the hook', () => hookRuns(world).length === 3);
        if (how !== 'running') await agent.stop('SIGKILL');
        const first = await rollback(world);
        expect(first.child.exitCode, first.log).toBe(0);
        const second = await rollback(world);
        expect([second.child.exitCode, world.file()]).toEqual([1, two]);
        expect(second.log).toMatch(
          /^error: HELD: s3: It was rolled back already, and nothing older is kept/m,
        );
      },
    ),
);

test.each([['SIGINT'], ['SIGKILL']] as const)(
  'without an agent, one that was cut short by %s during the hook is ended by the next one',
  (signal) =>
    hooked('[ -z "$SHADOW_AGENT_ROLLBACK" ] || [ -e go ] || sleep 300', async (world) => {
      const agent = await updated(world);
      await agent.stop();
      const first = await world.run(['rollback', 's3', '--config', world.device.configPath]);
      await until('the hook', () => hookRuns(world).length === 3);
      await first.stop(signal);
      if (signal === 'SIGINT') expect(first.log).toContain('\nhint: roll it back again');
      writeFileSync(world.path('go'), '');
      const second = await rollback(world);
      expect(second.child.exitCode, second.log).toBe(0);
      expect(second.output).toBe(
        `s3: ${world.path()} is back to ${sha256(one)}\n${sha256(two)} is held until another hash is desired\n`,
      );
      expect([world.file(), hookRuns(world).at(-1)?.rollback]).toEqual([one, '1']);
      expect((await rollback(world)).log).toContain('nothing older is kept');
    }),
);

test('where the directory of the file is not there, it says so, and is gone on with once that is back', () =>
  scenario(
    async (world) => {
      const agent = await updated(world);
      await agent.stop();
      renameSync(world.path('data'), world.path('away'));
      const first = await rollback(world);
      expect([first.child.exitCode, first.output]).toEqual([1, '']);
      expect(first.log).toMatch(
        /^error: INSTALL: s3: Cannot put the previous file back: \S+data is not there\nhint: make that directory/m,
      );
      renameSync(world.path('away'), world.path('data'));
      const second = await rollback(world);
      expect(second.child.exitCode, second.log).toBe(0);
      expect(world.file('data/file')).toBe(one);
    },
    { files: [{ property: 's3', path: 'data/file' }] },
  ));

test('a held file that is changed by hand is left as it is, and what is refused is not fetched', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    await rollback(world);
    await isHeld(world);
    await agent.stop();
    writeFileSync(world.path(), 'by hand\n');
    const again = await world.run();
    await again.logged('The file is not what was installed');
    await until('the mirror', () => JSON.stringify(world.reported('s3')).includes(sha256('by hand\n')));
    await isHeld(world);
    expect(world.file()).toBe('by hand\n');
    expect(world.gets().length).toBe(2);
  }));

test('after a failed hook the way back leads to the file before the one that stayed', () =>
  hooked('! grep -q three "$SHADOW_AGENT_PATH"', async (world) => {
    await updated(world);
    await world.put('3', three);
    await world.hasStatus({ code: 'HOOK_FAILED', hash: sha256(three) });
    expect(world.file()).toBe(two);
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(world.file()).toBe(one);
    await isHeld(world, three);
  }));

test('--once says that it is held', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    await agent.stop();
    await rollback(world);
    const once = await world.run(['--config', world.device.configPath, '--once']);
    expect(await once.exit).toBe(1);
    expect(once.log).toMatch(/^error: HELD: s3: .*\nhint: /m);
    const status = await world.run(['status', '--config', world.device.configPath]);
    await status.exit;
    expect(status.output).toContain('HELD');
  }));

test('a configuration of another thing, or of another path, rolls nothing back, with the agent running or not', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    const other = async (changes: object, ofFile: object = {}): Promise<Run> => {
      const files = [{ ...config.files[0], ...ofFile }];
      writeFileSync(world.path('other.json'), JSON.stringify({ ...config, ...changes, files }));
      const run = await world.run(['rollback', 's3', '--config', world.path('other.json')]);
      await run.exit;
      expect([run.child.exitCode, run.output]).toEqual([1, '']);
      expect(world.file()).toBe(two);
      return run;
    };
    const elsewhere = { path: world.path('elsewhere') };
    expect((await other({ thingName: 'other-thing' })).log).toMatch(
      /^error: the running agent \(pid \d+\) follows the classic shadow of test-thing; .* of other-thing\nhint: /,
    );
    expect((await other({}, elsewhere)).log).toMatch(
      /^error: the running agent .*: it keeps "s3" at \S+tmpfile, not at \S+elsewhere\nhint: /,
    );
    await agent.stop();
    expect((await other({}, elsewhere)).log).toMatch(
      /^error: s3: the agent of \S+state kept it at \S+tmpfile, not at \S+elsewhere\nhint: name /,
    );
    expect((await rollback(world)).child.exitCode).toBe(0);
  }));

test('the same configuration by a linked directory is no other one, for the agent, status and rollback', () =>
  scenario(async (world) => {
    const agent = await updated(world);
    const way = join(dirname(world.device.dir), 'way');
    symlinkSync(world.device.dir, way);
    const linked = async (...args: string[]): Promise<Run> => {
      const run = await world.run([...args, '--config', join(way, basename(world.device.configPath))]);
      await run.exit;
      return run;
    };
    const roundTrip = async (next: string): Promise<void> => {
      const back = await linked('rollback', 's3');
      expect(back.child.exitCode, back.log).toBe(0);
      expect(world.file()).toBe(one);
      await world.put('next', next);
    };
    expect((await linked('status')).child.exitCode).toBe(0);
    await roundTrip(three);
    await world.inSync(sha256(three));
    await agent.stop();
    expect((await linked('status')).output).toContain('wanted       the same');
    const again = await world.run(['--config', join(way, basename(world.device.configPath))]);
    await again.logged('Connected to AWS IoT');
    expect((await rollback(world)).child.exitCode).toBe(0);
    expect(world.file()).toBe(one);
    await world.put('2', two);
    await world.inSync(sha256(two));
    await again.stop();
    await roundTrip(three);
    expect(readdirSync(join(world.device.dir, 'state', 'previous'))).toEqual([]);
  }));
