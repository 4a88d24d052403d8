/** The recipe of the README by which the agent's own executable is one of its files. With the compiled executable. */
import { expect, test } from 'bun:test';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { version } from '../../src/cli.ts';
import { blockOf } from '../support/documents.ts';
import { executable, type Run, scenario, sha256, until, type World } from '../support/world.ts';

const newer = '9.9.9';

/** The hook as the README has it, for a device of the sandbox. */
function recipe(configPath: string): string {
  const script = `${blockOf('Update the agent itself')}\n`
    .replace('/etc/shadow-agent/agent.json', configPath)
    .replace('in 30 60 end', 'in 1 1 end');
  if (!script.includes(configPath) || !script.includes('1 1 end')) {
    throw new Error('the README has no recipe');
  }
  return script;
}

/** The executable with another text of the same length in the place of one. */
function patched(bytes: Buffer, text: string, other: string): Buffer {
  const copy = Buffer.from(bytes);
  if (!copy.includes(text) || text.length !== other.length) throw new Error(`no such text: ${text}`);
  for (let at = copy.indexOf(text); at >= 0; at = copy.indexOf(text, at + 1)) copy.write(other, at);
  return copy;
}

/** An executable that calls itself by another version, as one of the next release would. */
function release(bytes: Buffer): Buffer {
  return patched(bytes, `"${version}"`, `"${newer}"`);
}

/** Plays with a device that runs its own file, and is started again whenever it ends. */
function selfUpdating(play: (world: World, starts: Run[], first: Buffer) => Promise<void>): Promise<void> {
  const onInstall = { command: ['./self-update'], timeoutSeconds: 120 };
  const files = [
    { property: 'agent', path: 'agent', mode: '0755', onInstall },
    { property: 'other', path: 'other' },
  ];
  return scenario(
    async (world) => {
      copyFileSync(await executable(), world.path('agent'));
      writeFileSync(world.path('self-update'), recipe(world.device.configPath), { mode: 0o755 });
      chmodSync(world.path('self-update'), 0o755);
      const starts: Run[] = [];
      let isOver = false;
      const supervise = async () => {
        while (!isOver) {
          const run = await world.run();
          starts.push(run);
          await run.exit;
        }
      };
      const supervised = supervise();
      try {
        await until('the first report', () => world.reported('shadowAgent') !== undefined);
        await play(world, starts, readFileSync(world.path('agent')));
      } finally {
        isOver = true;
        for (const run of starts) await run.stop('SIGKILL');
        await supervised;
      }
    },
    { files, command: ['/bin/sh', '-c', 'exec ./agent "$@"', 'agent'] },
  );
}

const reportedVersion = (world: World) => {
  const agent = world.reported('shadowAgent');
  return typeof agent === 'object' && agent !== null && 'version' in agent ? agent['version'] : undefined;
};

async function desire(world: World, bytes: Buffer | string): Promise<void> {
  const key = sha256(bytes);
  await world.sandbox.s3.store.put('123456789012-iot-test-files', key, bytes);
  world.desire({ agent: { url: `s3://123456789012-iot-test-files/${key}`, hash: key } });
}

test(
  'a new executable is tried, replaces the one that runs, and is current once it runs itself',
  () =>
    selfUpdating(async (world, starts, first) => {
      const next = release(first);
      // That of another file is no fault of the executable.
      world.desire({ other: { url: 's3://123456789012-iot-test-files/missing', hash: 'ab'.repeat(32) } });
      await world.hasStatus({ code: 'S3_NOT_FOUND' }, 'other');
      await desire(world, next);
      await world.inSync(sha256(next), 'agent');
      expect(reportedVersion(world)).toBe(newer);
      expect(starts.length).toBe(2);
      expect(starts.map(({ log }) => log).join('')).toContain('is to run again');
      expect(sha256(readFileSync(world.path('agent')))).toBe(sha256(next));
      const back = await world.run(['rollback', 'agent', '--config', world.device.configPath]);
      expect([await back.exit, back.log]).toEqual([0, '']);
      expect(back.output).toContain(`is back to ${sha256(first)}\n${sha256(next)} is held`);
      await world.hasStatus({ status: 'waiting', code: 'HELD', hash: sha256(next) }, 'agent');
      await until('the old version', () => reportedVersion(world) === version);
      expect(starts.length).toBe(3);
      expect(sha256(readFileSync(world.path('agent')))).toBe(sha256(first));
    }),
  120_000,
);

test(
  'one that does not run is put back, and the agent goes on as it was',
  () =>
    selfUpdating(async (world, starts, first) => {
      const broken = '#!/bin/sh\necho "wrong architecture" >&2\nexit 1\n';
      await desire(world, broken);
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(broken) }, 'agent');
      expect(world.status('agent')['message']).toStartWith('The hook exited with 1: wrong architecture');
      expect(sha256(readFileSync(world.path('agent')))).toBe(sha256(first));
      expect(starts.length).toBe(1);
      expect(starts[0]?.child.exitCode).toBeNull();
      expect(reportedVersion(world)).toBe(version);
    }),
  120_000,
);

test(
  'one whose doctor finds a fault each time is put back; one that finds it once, as networks fail, is not',
  () =>
    selfUpdating(async (world, starts, first) => {
      const broken = patched(release(first), 'AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA255');
      await desire(world, broken);
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(broken) }, 'agent');
      expect(starts[0]?.log.match(/hook says .*fail +s3/g)?.length).toBe(4);
      expect(String(world.status('agent')['message'])).toMatch(/HTTP 400 InvalidArgument/);
      expect(sha256(readFileSync(world.path('agent')))).toBe(sha256(first));
      expect(starts.length).toBe(1);
      const next = release(first);
      world.sandbox.faults.set('credentials-503', 1, 1);
      await desire(world, next);
      await world.inSync(sha256(next), 'agent');
      expect(reportedVersion(world)).toBe(newer);
    }),
  120_000,
);
