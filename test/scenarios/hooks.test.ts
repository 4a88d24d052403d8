/** Hooks: what runs when a file was installed, and decides whether it stays. With the compiled executable. */
import { expect, test } from 'bun:test';
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { hooked, hookRuns, stateOf, writeHook } from '../support/hook.ts';
import { program, toolTest } from '../support/tools.ts';
import { bucketName, executable, Run, sha256, until, type World } from '../support/world.ts';

const good = 'good\n';
const bad = 'bad\n';
const better = 'better\n';
/** Refuses what says that it is bad. */
const picky = 'grep -q bad "$SHADOW_AGENT_PATH" && { echo "this is bad" >&2; exit 3; }; exit 0';

function contents(world: World): string[] {
  return hookRuns(world).map(({ content, rollback }) => content + (rollback === '' ? '' : ' again'));
}

function kept(world: World): string[] {
  const directory = join(world.device.dir, 'state', 'previous');
  return existsSync(directory) ? readdirSync(directory) : [];
}

test('a hook runs for each file that was installed, and knows which and what it replaces', () =>
  hooked('exit 0', async (world) => {
    await world.put('a', good);
    await world.start();
    await world.inSync(sha256(good));
    await world.put('b', better);
    await world.inSync(sha256(better));
    const [first, second, ...rest] = hookRuns(world);
    expect(first).toEqual({
      property: 's3',
      path: world.path(),
      hash: sha256(good),
      url: `s3://${bucketName}/a`,
      previous: '',
      rollback: '',
      content: 'good',
      before: '',
    });
    expect(second).toMatchObject({ hash: sha256(better), content: 'better', before: 'good', rollback: '' });
    expect(second?.previous.startsWith(join(world.device.dir, 'state', 'previous'))).toBe(true);
    expect(rest).toEqual([]);
    expect(kept(world).length).toBe(1);
  }));

test('its output is in the log line by line, and none of it is in the way of a JSON log', () =>
  hooked(
    'echo one; printf "two\\nthree\\n"; echo err >&2; printf "\\033[31mred\\033[0m\\n"',
    async (world) => {
      await world.put('a', good);
      const run = await world.start();
      await world.inSync(sha256(good));
      const lines = run.log
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter(({ message }) => message === 'The hook says')
        .map(({ line }) => line);
      expect(lines.toSorted()).toEqual(['[31mred [0m', 'err', 'one', 'three', 'two'].toSorted());
    },
    { config: { log: { level: 'info', format: 'json' } } },
  ));

test('a hook gets what programs need of the environment, and nothing that may be a secret', () =>
  hooked('env >environment', async (world) => {
    await world.put('a', good);
    process.env['AWS_SECRET_ACCESS_KEY'] = 'must-not-be-handed-on';
    try {
      await world.start();
      await world.inSync(sha256(good));
    } finally {
      delete process.env['AWS_SECRET_ACCESS_KEY'];
    }
    const names = (world.file('environment') ?? '').split('\n').map((line) => line.split('=')[0] ?? '');
    expect(names).toContain('PATH');
    const ours = ['HASH', 'PATH', 'PREVIOUS', 'PROPERTY', 'RUN', 'URL'].map((name) => `SHADOW_AGENT_${name}`);
    expect(names.filter((name) => name.startsWith('SHADOW_AGENT')).toSorted()).toEqual(ours);
    expect(names.filter((name) => /AWS|PROXY|SECRET|STATE_DIR|NOTIFY/i.test(name))).toEqual([]);
  }));

test('a hook that fails has the file before put back, is run for it, and the refused hash is not tried again', () =>
  hooked(picky, async (world) => {
    await world.put('a', good);
    const first = await world.start();
    await world.inSync(sha256(good));
    const before = lstatSync(world.path());
    await world.put('b', bad);
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
    expect(world.status()['message']).toBe('The hook exited with 3: this is bad');
    expect(world.status()['retryAt']).toBeUndefined();
    expect(world.reported('s3')).toMatchObject({ hash: sha256(good) });
    expect(world.file()).toBe(good);
    expect(lstatSync(world.path()).ino).toBe(before.ino);
    expect(contents(world)).toEqual(['good', 'bad', 'good again']);
    expect(kept(world)).toEqual([]);
    await first.stop();
    const gets = world.gets().length;
    const second = await world.run();
    await second.logged('Connected to AWS IoT');
    const again = await world.run(['--config', world.device.configPath, '--once']);
    expect(await again.exit).toBe(1);
    await second.stop();
    const once = await world.run(['--config', world.device.configPath, '--once']);
    expect(await once.exit).toBe(1);
    expect(once.log).toMatch(/^error: .*s3: The hook exited with 3: this is bad\nhint: /m);
    expect(world.gets().length).toBe(gets);
    expect(contents(world).length).toBe(3);
    await world.put('c', better);
    await world.start();
    await world.inSync(sha256(better));
    expect(contents(world).at(-1)).toBe('better');
  }));

test('where nothing was before, what a hook refuses goes, and so does what was reported', () =>
  hooked(picky, async (world) => {
    await world.put('b', bad);
    await world.start();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
    expect(world.file()).toBeUndefined();
    expect(world.reported('s3')).toBeUndefined();
    expect(hookRuns(world).map(({ hash, rollback }) => [hash, rollback])).toEqual([
      [sha256(bad), ''],
      ['', '1'],
    ]);
    await world.put('a', good);
    await world.inSync(sha256(good));
  }));

test('a link that stood there before is put back as it was', () =>
  hooked(picky, async (world) => {
    writeFileSync(world.path('factory'), 'from the factory\n');
    symlinkSync('factory', world.path());
    await world.put('b', bad);
    await world.start();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED' });
    expect(readlinkSync(world.path())).toBe('factory');
    expect(world.file()).toBe('from the factory\n');
  }));

test('keepPrevious false keeps the file until its hook has succeeded, and no longer', () =>
  hooked(
    picky,
    async (world) => {
      await world.put('a', good);
      await world.start();
      await world.inSync(sha256(good));
      await world.put('b', bad);
      await world.hasStatus({ code: 'HOOK_FAILED' });
      expect(world.file()).toBe(good);
      await world.put('c', better);
      await world.inSync(sha256(better));
      expect(hookRuns(world).at(-1)?.before).toBe('good');
      expect(kept(world)).toEqual([]);
    },
    { file: { keepPrevious: false } },
  ));

test('a hook that fails for the file that is put back as well makes no loop', () =>
  hooked('exit 7', async (world) => {
    writeFileSync(world.path(), 'from the factory\n');
    await world.put('b', bad);
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
    expect(world.file()).toBe('from the factory\n');
    expect(contents(world)).toEqual(['bad', 'from the factory again']);
    expect(run.log).toMatch(/The hook exited with 7.*rollback=true/);
  }));

test('a hook that hangs is ended with all that it has started', () =>
  hooked(
    '[ -n "$SHADOW_AGENT_ROLLBACK" ] && exit 0; trap "" TERM; sleep 300 & echo $! >child; echo hanging; while :; do sleep 1; done',
    async (world) => {
      writeFileSync(world.path(), good);
      await world.put('b', bad);
      await world.start();
      await world.hasStatus({ status: 'waiting', hash: sha256(bad) });
      expect(world.reported('s3')).toBeUndefined();
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED' });
      expect(world.status()['message']).toBe('The hook was ended after 3 s: hanging');
      expect(world.file()).toBe(good);
      await until('the end of the child', () => !isRunning(Number(world.file('child'))));
    },
    { hook: { timeoutSeconds: 3 } },
  ));

test('what a hook leaves in the background lives on where it succeeds, and holds up nothing', () =>
  hooked('sleep 300 & echo $! >child; exit 0', async (world) => {
    await world.put('a', good);
    const startedMs = Date.now();
    await world.start();
    await world.inSync(sha256(good));
    expect(Date.now() - startedMs).toBeLessThan(30_000);
    const child = Number(world.file('child'));
    expect(isRunning(child)).toBe(true);
    process.kill(child, 'SIGKILL');
  }));

test('a hook that prints megabytes is not held up, and the log gets its start and its end', () =>
  hooked(
    'i=0; while [ $i -lt 20000 ]; do echo "line $i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; i=$((i+1)); done; head -c 3000000 /dev/zero | tr "\\0" y; echo; echo the end; exit 4',
    async (world) => {
      await world.put('a', good);
      const run = await world.start();
      await world.hasStatus({ code: 'HOOK_FAILED' });
      expect(Buffer.byteLength(JSON.stringify(world.status()['message']))).toBeLessThanOrEqual(202);
      expect(String(world.status()['message'])).toMatch(/^The hook exited with 4: .*the end$/);
      expect(run.log).toContain('line 0 ');
      expect(run.log).toContain('the end');
      expect(run.log).toMatch(/lines are left out/);
      expect(run.log.length).toBeLessThan(100_000);
    },
  ));

test('a hook that prints without end is ended in time, and status and SIGTERM are heard meanwhile', () =>
  hooked(
    '[ -n "$SHADOW_AGENT_ROLLBACK" ] && exit 0; grep -q bad "$SHADOW_AGENT_PATH" && exec yes; exec yes "more and more"',
    async (world) => {
      await world.put('b', bad);
      const run = await world.run();
      await run.logged('Running the hook');
      const startedMs = performance.now();
      const status = await world.run(['status', '--config', world.device.configPath]);
      await status.exit;
      expect(status.output).toMatch(/^agent +version .* running/);
      expect(performance.now() - startedMs).toBeLessThan(3_000);
      await run.logged('was ended after 4 s');
      expect(performance.now() - startedMs).toBeLessThan(7_000);
      expect(run.log).toMatch(/\[\d{5,} lines are left out\]/);
      expect(run.log.length).toBeLessThan(40_000);
      await world.put('c', better);
      await until('the next hook', () => run.log.split('Running the hook').length === 4);
      const stoppedMs = performance.now();
      await run.stop();
      expect(performance.now() - stoppedMs).toBeLessThan(5_000);
    },
    { hook: { timeoutSeconds: 4 } },
  ));

test('secrets that a hook prints stay out of log, state and shadow', () =>
  hooked(
    `cat <<'END'
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
-----END PRIVATE KEY-----
https://user:hunter22@example.com/x?X-Amz-Signature=abcdef0123
END
exit 5`,
    async (world) => {
      await world.put('a', good);
      const run = await world.start();
      await world.hasStatus({ code: 'HOOK_FAILED' });
      for (const place of [run.log, stateOf(world), JSON.stringify(world.state('reported'))]) {
        expect(place).not.toMatch(/MIIEvQ|hunter22|abcdef0123/);
      }
    },
  ));

test.each([
  ['is not there', ['./missing'], 'ENOENT'],
  ['is no executable', ['./tmpfile.txt'], 'EACCES'],
  ['is nowhere in PATH', ['shadow-agent-no-such-program'], 'ENOENT'],
  ['is a script that does not say what runs it', ['./tmpfile.sh'], 'ENOEXEC'],
])('a hook that %s has failed', (_, command, reason) =>
  hooked(
    '',
    async (world) => {
      writeFileSync(world.path('tmpfile.txt'), 'text', { mode: 0o644 });
      writeFileSync(world.path('tmpfile.sh'), 'exit 0\n', { mode: 0o755 });
      writeFileSync(world.path(), good);
      await world.put('b', bad);
      await world.start();
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect(world.status()['message']).toBe(`The hook cannot be started: ${reason}`);
      expect(world.file()).toBe(good);
    },
    { hook: { command } },
  ),
);

test('a hook that a signal ends has failed', () =>
  hooked('[ -n "$SHADOW_AGENT_ROLLBACK" ] || kill -9 $$', async (world) => {
    writeFileSync(world.path(), good);
    await world.put('b', bad);
    await world.start();
    await world.hasStatus({ code: 'HOOK_FAILED' });
    expect(world.status()['message']).toBe('The hook was ended by SIGKILL');
    expect(world.file()).toBe(good);
  }));

test('a file that was changed on the device is repaired, and the hook runs for it', () =>
  hooked('exit 0', async (world) => {
    await world.put('a', good);
    const run = await world.start();
    await world.inSync(sha256(good));
    await run.stop();
    writeFileSync(world.path(), 'changed by hand\n');
    await world.start();
    await until('the repair', () => world.file() === good);
    await until('the second run', () => hookRuns(world).length === 2);
    expect(contents(world)).toEqual(['good', 'good']);
  }));

/** Has a file changed by hand and repaired, whose hook fails for that while the file `failing` is there. */
async function failingRepair(world: World): Promise<{ run: Run; value: JsonObject }> {
  await world.put('a', good);
  const first = await world.start();
  await world.inSync(sha256(good));
  await first.stop();
  const value = world.state('desired')['s3'] as JsonObject;
  writeFileSync(world.path('failing'), '');
  writeFileSync(world.path(), 'changed by hand\n');
  const run = await world.run();
  await world.hasStatus({ status: 'waiting', code: 'HOOK_FAILED', hash: sha256(good) });
  return { run, value };
}

test('a hook that fails after a repair is owed: it runs once that value is desired again, after another that could not be had', () =>
  hooked('[ ! -e failing ]', async (world) => {
    const { run, value } = await failingRepair(world);
    expect(run.log).toContain('the file was repaired and stays; the hook');
    expect(run.log.match(/.*HOOK_FAILED.*/g)).toEqual([
      expect.stringMatching(/ attempt=1 retryInSeconds=[\d.]+/),
    ]);
    expect(run.log).not.toContain('then desire another hash');
    world.desire({ s3: { ...value, url: `s3://${bucketName}/missing`, hash: sha256(better) } });
    await world.hasStatus({ status: 'failed', hash: sha256(better) });
    const runs = hookRuns(world).length;
    unlinkSync(world.path('failing'));
    world.desire({ s3: value });
    await world.inSync(sha256(good));
    expect(hookRuns(world).length).toBeGreaterThan(runs);
    expect(hookRuns(world).at(-1)).toMatchObject({ content: 'good', rollback: '' });
  }));

test('a hook that was cut short is owed to a file that is out of sight at the next start', () =>
  hooked('[ -e go ] || sleep 300', async (world) => {
    await world.put('a', good);
    const first = await world.run();
    await until('the hook', () => hookRuns(world).length === 1);
    await first.stop('SIGKILL');
    writeFileSync(world.path('go'), '');
    renameSync(world.path(), world.path('away'));
    const value = world.state('desired')['s3'] as JsonObject;
    world.desire({ s3: null });
    const blind = await world.run();
    await blind.logged('Connected to AWS IoT');
    await blind.stop();
    renameSync(world.path('away'), world.path());
    world.desire({ s3: value });
    await world.start();
    await world.inSync(sha256(good));
    expect(contents(world)).toEqual(['good', 'good']);
    expect(world.gets().length).toBe(1);
  }));

test('a new file that was gone before its hook had ended is none that was repaired: what the hook refuses then does not stay', () =>
  hooked('[ -e refusing ] && exit 1; sleep 300', async (world) => {
    await world.put('a', good);
    const first = await world.run();
    await until('the hook', () => hookRuns(world).length === 1);
    await first.stop('SIGKILL');
    writeFileSync(world.path('refusing'), '');
    unlinkSync(world.path());
    await world.run();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(good) });
    expect(world.file()).toBeUndefined();
  }));

test('a new file that was edited before its hook had ended is no way back, and the one before it still is', () =>
  hooked('[ -e go ] || ! grep -q better "$SHADOW_AGENT_PATH" || sleep 300', async (world) => {
    await world.put('a', good);
    const first = await world.start();
    await world.inSync(sha256(good));
    await world.put('b', better);
    await until('the hook', () => hookRuns(world).length === 2);
    await first.stop('SIGKILL');
    writeFileSync(world.path('go'), '');
    writeFileSync(world.path(), 'edited by hand\n');
    await world.run();
    await world.inSync(sha256(better));
    const back = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await back.exit, back.log).toBe(0);
    expect(world.file()).toBe(good);
  }));

test('a first file that was edited before its hook had ended is no way back', () =>
  hooked('[ -e go ] || sleep 300', async (world) => {
    await world.put('a', good);
    const first = await world.run();
    await until('the hook', () => hookRuns(world).length === 1);
    await first.stop('SIGKILL');
    writeFileSync(world.path('go'), '');
    writeFileSync(world.path(), 'edited by hand\n');
    await world.run();
    await world.inSync(sha256(good));
    const back = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await back.exit).toBe(1);
    expect(back.log).toContain('s3: No previous file is kept');
    expect(world.file()).toBe(good);
  }));

test('a kept file that was changed meanwhile goes back as what it is: hook, log, shadow and status are told', () =>
  hooked(
    'grep -q bad "$SHADOW_AGENT_PATH" || exit 0; printf changed >"$SHADOW_AGENT_PREVIOUS"; exit 3',
    async (world) => {
      await world.put('a', good);
      const run = await world.start();
      await world.inSync(sha256(good));
      await world.put('b', bad);
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect(world.file()).toBe('changed');
      expect(hookRuns(world).at(-1)).toMatchObject({ rollback: '1', hash: sha256('changed'), url: '' });
      expect(world.reported('s3')).toEqual({ hash: sha256('changed') });
      const told = 'What is back is not what was installed before. The hook exited with 3';
      expect(world.status()['message']).toBe(told);
      expect(run.log).toContain('What is back is not what was installed before: the kept file was changed');
    },
  ));

test('what a hook has refused is not tried at another path either, where the file before could not be put back', () =>
  hooked(
    '! grep -q bad "$SHADOW_AGENT_PATH" || { [ ! -e data ] || mv data away; exit 3; }',
    async (world) => {
      await world.put('a', good);
      const first = await world.start();
      await world.inSync(sha256(good));
      await world.put('b', bad);
      await world.hasStatus({ code: 'INSTALL', hash: sha256(bad) });
      await first.stop();
      const { configPath } = world.device;
      const config = JSON.parse(readFileSync(configPath, 'utf8'));
      config.files[0].path = 'elsewhere/file';
      writeFileSync(configPath, JSON.stringify(config));
      await world.run();
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect([existsSync(world.path('elsewhere')), hookRuns(world).length]).toEqual([false, 2]);
    },
    { file: { path: 'data/file' } },
  ));

test('a file that was changed on the device is no way back, also where a failed hook has put it back', () =>
  hooked(picky, async (world) => {
    await world.put('a', good);
    await world.start();
    await world.inSync(sha256(good));
    await world.put('c', better);
    await world.inSync(sha256(better));
    writeFileSync(world.path(), 'changed');
    await world.put('b', bad);
    await world.hasStatus({ code: 'HOOK_FAILED', hash: sha256(bad) });
    expect(world.file()).toBe('changed');
    await world.put('d', 'best');
    await world.inSync(sha256('best'));
    const run = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await run.exit, run.log).toBe(0);
    expect(world.file()).toBe(good);
  }));

test('a hook that changes the file that it is given each time is told of, in shadow and status', () =>
  hooked('echo edited >>"$SHADOW_AGENT_PATH"', async (world) => {
    await world.put('a', good);
    const run = await world.run();
    await world.hasStatus({ status: 'failed', code: 'INSTALL', hash: sha256(good) });
    expect(world.status()['message']).toContain('after each install');
    const status = await world.run(['status', '--config', world.device.configPath]);
    expect(await status.exit).toBe(1);
    expect(status.output).toMatch(/error +INSTALL: Something changes or removes the file after each install/);
    await run.stop();
    const once = await world.run(['--config', world.device.configPath, '--once']);
    expect(await once.exit).toBe(1);
    expect(once.log).toMatch(/^error: .*after each install/m);
  }));

test('SIGTERM ends a running hook within 5 s, and the next start runs it before anything is current', () =>
  hooked('echo $$ >pid; [ -e go ] || sleep 300', async (world) => {
    await world.put('a', good);
    const run = await world.start();
    await until('the hook', () => world.file('pid') !== undefined);
    const stoppedMs = Date.now();
    expect(await run.stop('SIGTERM')).toBe(0);
    expect(Date.now() - stoppedMs).toBeLessThan(5_000);
    expect(isRunning(Number(world.file('pid')))).toBe(false);
    expect(world.status()).toMatchObject({ status: 'waiting', hash: sha256(good) });
    expect(world.reported('s3')).toBeUndefined();
    expect(world.file()).toBe(good);
    writeFileSync(world.path('go'), '');
    await world.start();
    await world.inSync(sha256(good));
    expect(contents(world)).toEqual(['good', 'good']);
    expect(world.gets().length).toBe(1);
  }));

test('a hook that outlives an agent that was killed is ended before the next start runs it again', () =>
  hooked(
    'trap "" TERM; echo "start $$" >>order; [ -e again ] || { : >again; sleep 300 & echo $! >child; wait; }; echo "end $$" >>order',
    async (world) => {
      await world.put('a', good);
      const run = await world.start();
      await until('the hook', () => world.file('child')?.endsWith('\n') === true);
      await run.stop('SIGKILL');
      const [, first = ''] = /^start (\d+)$/m.exec(world.file('order') ?? '') ?? [];
      expect(isRunning(Number(first))).toBe(true);
      const second = await world.start();
      await world.inSync(sha256(good));
      expect(second.log).toContain('A hook had outlived an earlier agent, and was ended');
      expect(world.file('order')).toMatch(new RegExp(`^start ${first}\nstart (\\d+)\nend \\1\n$`));
      expect(isRunning(Number(first))).toBe(false);
      await until('the end of its child', () => !isRunning(Number(world.file('child'))));
      expect(readdirSync(join(world.device.dir, 'state')).filter((name) => name.startsWith('hook.'))).toEqual(
        [],
      );
    },
  ));

test('a hook that kills the agent is tried three times, then what it is for is put back', () =>
  hooked(
    'grep -q bad "$SHADOW_AGENT_PATH" && { kill -9 $PPID; sleep 5; }; exit 0',
    async (world) => {
      writeFileSync(world.path(), good);
      await world.put('b', bad);
      for (let time = 1; time <= 3; time += 1) {
        const run = await world.run();
        expect(await run.exit).not.toBe(0);
        expect(world.file()).toBe(bad);
        expect(contents(world).length).toBe(time);
      }
      await world.start();
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect(world.status()['message']).toBe('The hook was cut short 3 times');
      expect(world.file()).toBe(good);
      expect(contents(world)).toEqual(['bad', 'bad', 'bad', 'good again']);
      for (const run of world.runs) await run.stop('SIGKILL');
    },
    {},
  ));

test('a newer desired value waits for the hook that runs, and is installed then', () =>
  hooked('grep -q good "$SHADOW_AGENT_PATH" && sleep 2; exit 0', async (world) => {
    await world.put('a', good);
    await world.start();
    await until('the hook', () => hookRuns(world).length === 1);
    await world.put('c', better);
    await world.inSync(sha256(better));
    expect(contents(world)).toEqual(['good', 'better']);
    expect(hookRuns(world)[1]?.before).toBe('good');
  }));

test('--once runs the hook, and ends when it has', () =>
  hooked(picky, async (world) => {
    await world.put('a', good);
    const first = await world.run(['--config', world.device.configPath, '--once']);
    expect(await first.exit).toBe(0);
    expect(contents(world)).toEqual(['good']);
    await world.put('b', bad);
    const second = await world.run(['--config', world.device.configPath, '--once']);
    expect(await second.exit).toBe(1);
    expect(second.log).toMatch(/^error: .*s3: The hook exited with 3: this is bad\nhint: /m);
    expect(world.file()).toBe(good);
    writeHook(world, 'exit 0');
  }));

function isRunning(pid: number): boolean {
  try {
    // A zombie that nobody waits for has ended.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('a file that was put back by hand while its hook was cut short is no damage: what the hook refuses then does not stay', () =>
  hooked('! grep -q two "$SHADOW_AGENT_PATH" || { [ -e refusing ] || sleep 300; exit 1; }', async (world) => {
    await world.put('1', 'one');
    const first = await world.start();
    await world.inSync(sha256('one'));
    await world.put('2', 'two');
    await until('the hook', () => hookRuns(world).length === 2);
    await first.stop('SIGKILL');
    writeFileSync(world.path(), 'one');
    writeFileSync(world.path('refusing'), '');
    await world.run();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256('two') });
    expect(world.file()).toBe('one');
    expect(hookRuns(world).at(-1)).toMatchObject({ rollback: '1', content: 'one' });
  }));

test('what was out of sight at the start keeps its way back: what the hook refuses then gives way to the file before', () =>
  hooked('! grep -q two "$SHADOW_AGENT_PATH" || { [ -e refusing ] || sleep 300; exit 1; }', async (world) => {
    await world.put('1', 'one');
    const first = await world.start();
    await world.inSync(sha256('one'));
    await world.put('2', 'two');
    await until('the hook', () => hookRuns(world).length === 2);
    await first.stop('SIGKILL');
    renameSync(world.path(), world.path('away'));
    writeFileSync(world.path('refusing'), '');
    await world.run();
    await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256('two') });
    expect(world.file()).toBe('one');
    expect(hookRuns(world).at(-1)).toMatchObject({ rollback: '1', content: 'one' });
  }));

const strace = program('strace');

toolTest(
  [strace],
  'a hook that is owed after a repair is owed still where the agent was killed right before it put another file in place',
  () =>
    hooked('[ ! -e failing ]', async (world) => {
      const { run, value } = await failingRepair(world);
      await run.stop();
      // Between what is said to be pending and the rename lies a sync of the part.
      const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'inject=fsync,fdatasync:delay_enter=250000'];
      const args = [...slow, await executable(), '--config', world.device.configPath];
      const traced = new Run(strace.path, args, world.device.dir);
      try {
        await world.put('b', better);
        const announced = `"step": "apply",\n    "sha256": "${sha256(better)}"`;
        await until('what is pending', () => stateOf(world).includes(announced));
      } finally {
        const { pid = 0 } = traced.child;
        process.kill(Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()), 'SIGKILL');
        await traced.exit;
      }
      expect(world.file()).toBe(good);
      unlinkSync(world.path('failing'));
      const runs = hookRuns(world).length;
      world.desire({ s3: value });
      await world.start();
      await world.inSync(sha256(good));
      expect(contents(world).slice(runs)).toEqual(['good']);
    }),
);
