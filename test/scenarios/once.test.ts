/** `--once` where something does not work at first. With the compiled executable. */
import { expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { answers } from '../support/faults.ts';
import { hooked, hookRuns, stateOf } from '../support/hook.ts';
import { bucketName, noise, scenario, sha256, until, type World } from '../support/world.ts';

function once(world: World) {
  return world.run(['--config', world.device.configPath, '--once']);
}

test('--once asks again where S3 is not available for a moment, and ends with 0', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('s3-503', 1, 2);
    await world.put('test.txt', 'hoge\n');
    const run = await once(world);
    expect(await run.exit).toBe(0);
    expect(answers(world)).toEqual(['SlowDown', 'SlowDown', 200]);
    expect(world.file()).toBe('hoge\n');
  }));

test('--once connects again where the broker refuses it at first, and ends with 0', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('mqtt-refuse', 1, 2);
    await world.put('test.txt', 'hoge\n');
    const run = await once(world);
    expect(await run.exit).toBe(0);
    expect(run.log.split('Cannot connect to the broker').length).toBe(3);
    expect(world.file()).toBe('hoge\n');
  }));

test('--once logs when it tries again, and no time where it ends', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('s3-503', 1, 1);
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: 'ab'.repeat(32) } });
    const run = await once(world);
    expect(await run.exit).toBe(1);
    const [passing, missing] = run.log.split('\n').filter((line) => line.includes('WARNING'));
    expect(passing).toMatch(/ code=S3 .*retryInSeconds=/);
    expect(missing).toMatch(/ code=S3_NOT_FOUND /);
    expect(missing).not.toContain('retryInSeconds');
  }));

test.each(['SIGTERM', 'SIGINT'] as const)(
  '--once that %s stops before it is done exits 1, and says why',
  (signal) =>
    scenario(async (world) => {
      world.sandbox.faults.set('s3-slow', 100_000);
      await world.put('test.txt', noise(5_000_000));
      const run = await once(world);
      await until('some bytes', () => world.gets().some(({ bytesSent }) => bytesSent > 0));
      expect(await run.stop(signal)).toBe(1);
      expect(run.log).toMatch(
        /^error: INSTALL: s3: Stopped before the file was as desired\nhint: start it again/m,
      );
      const help = await world.run(['--help']);
      await help.exit;
      expect(help.output).toMatch(/^ {2}0 +done; without --once also when stopped by SIGTERM or SIGINT$/m);
      expect(help.output).toMatch(
        /^ {2}1 +failed, or --once was stopped before it was done; the reason is on stderr$/m,
      );
    }),
);

test('what a hook refuses does not end --once where another hash is desired by then', () =>
  hooked(
    '! grep -q hoge "$SHADOW_AGENT_PATH" || { until [ -e go ]; do sleep 0.1; done; exit 3; }',
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      const run = await once(world);
      await until('the hook', () => hookRuns(world).length === 1);
      await world.put('test.txt', 'fuga\n');
      await until('the document', () => stateOf(world).includes(sha256('fuga\n')));
      writeFileSync(world.path('go'), '');
      expect(await run.exit, run.log).toBe(0);
      expect(hookRuns(world).map(({ content }) => content)).toEqual(['hoge', '', 'fuga']);
    },
  ));

test('a rollback of a file that --once is done with is refused while another one downloads, and done once it has ended', () =>
  scenario(
    async (world) => {
      for (const body of ['one\n', 'two\n']) {
        await world.put('test.txt', body);
        expect(await (await once(world)).exit).toBe(0);
      }
      world.sandbox.lambdas.route({
        bucket: bucketName,
        prefix: 'other/',
        target: 'things/test-thing',
        property: 'other',
      });
      world.sandbox.faults.set('s3-slow', 100_000);
      await world.put('other/big', noise(5_000_000));
      const agent = await once(world);
      await until('some bytes', () =>
        world.gets().some(({ key, bytesSent }) => key === 'other/big' && bytesSent > 0),
      );
      const refused = await world.run(['rollback', 's3', '--config', world.device.configPath]);
      await until('the answer', () => refused.child.exitCode !== null, 5_000);
      expect(refused.child.exitCode).toBe(1);
      expect(refused.log).toMatch(
        /^error: INSTALL: s3: The agent is done with this file, and nothing was put back\nhint: ask again once it has ended/,
      );
      expect(world.file()).toBe('two\n');
      await agent.stop();
      const done = await world.run(['rollback', 's3', '--config', world.device.configPath]);
      expect(await done.exit).toBe(0);
      expect(world.file()).toBe('one\n');
    },
    {
      files: [
        { property: 's3', path: 'tmpfile' },
        { property: 'other', path: 'other' },
      ],
    },
  ));
