/** The way back from a file that its hook has refused, where something stands in it. With the compiled executable. */
import { expect, test } from 'bun:test';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { hooked } from '../support/hook.ts';
import { setpriv } from '../support/nobody.ts';
import { toolTest } from '../support/tools.ts';
import { bucketName, executable, type Run, scenario, sha256, until, type World } from '../support/world.ts';

const good = 'good\n';
const bad = 'bad\n';
const better = 'better\n';
const missing: JsonObject = { url: `s3://${bucketName}/missing`, hash: sha256(better) };
/** Refuses what is bad, and takes what is kept away. */
const blocking = '! grep -q bad "$SHADOW_AGENT_PATH" || { mv state/previous away; exit 3; }';

/** Has `good` replaced by `bad`, which its hook refuses. */
async function refused(world: World): Promise<Run> {
  await world.put('a', good);
  const run = await world.start();
  await world.inSync(sha256(good));
  await world.put('b', bad);
  return run;
}

/** … while nothing can be put back. */
async function blocked(world: World): Promise<Run> {
  const run = await refused(world);
  await world.hasStatus({ code: 'INSTALL', hash: sha256(bad) });
  return run;
}

const bringBack = (world: World) => renameSync(world.path('away'), world.path('state/previous'));

async function rollback(world: World): Promise<Run> {
  const run = await world.run(['rollback', 's3', '--config', world.device.configPath]);
  await run.exit;
  return run;
}

/** What `status --json` says of the file. */
async function fileStatus(world: World): Promise<JsonValue | undefined> {
  const run = await world.run(['status', '--json', '--config', world.device.configPath]);
  await run.exit;
  return JSON.parse(run.output).files.s3;
}

function metrics(world: World): string {
  const path = world.path('metrics.prom');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

test.each<[string, JsonObject | null]>([
  ['what is desired by now cannot be had', missing],
  ['nothing is desired any more', null],
])('is gone by the next start at once, also where %s', (_, value) =>
  hooked(blocking, async (world) => {
    const run = await blocked(world);
    world.desire({ s3: missing });
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND', hash: sha256(better) });
    expect(world.file()).toBe(bad);
    await run.stop();
    bringBack(world);
    world.desire({ s3: value });
    await world.run();
    await until('the way back', () => world.file() === good);
    if (value !== null)
      await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND', hash: sha256(better) });
    expect(world.reported('s3')).toMatchObject({ hash: sha256(good) });
    await world.put('c', better);
    await world.inSync(sha256(better));
  }),
);

test('leads from what replaces the refused file to the one before it', () =>
  hooked(blocking, async (world) => {
    await blocked(world);
    await world.put('c', better);
    await world.inSync(sha256(better));
    bringBack(world);
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(0);
    expect(world.file()).toBe(good);
  }));

test('leads to nothing else where the file before is desired again', () =>
  hooked(blocking, async (world) => {
    await world.put('0', 'oldest\n');
    await world.start();
    await world.inSync(sha256('oldest\n'));
    await world.put('a', good);
    await world.inSync(sha256(good));
    const value = world.state('desired')['s3'] ?? null;
    await world.put('b', bad);
    await world.hasStatus({ code: 'INSTALL', hash: sha256(bad) });
    world.desire({ s3: value });
    await world.inSync(sha256(good));
    const run = await rollback(world);
    expect(run.child.exitCode, run.log).toBe(1);
    expect([run.log.includes('state/previous/'), world.file()]).toEqual([true, good]);
  }));

toolTest([setpriv], 'is gone also where what stands there cannot be read', async () => {
  // As root without the right to read what its mode forbids.
  const without = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] as const;
  const command = [...without, await executable()] as const;
  await hooked(
    '! grep -q bad "$SHADOW_AGENT_PATH" || { chmod 0 "$SHADOW_AGENT_PATH"; exit 3; }',
    async (world) => {
      await refused(world);
      await world.hasStatus({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect(world.file()).toBe(good);
    },
    { command },
  );
});

test('a refused file that somebody puts there by hand is not current, and shadow, status, metrics and --once say why', () =>
  hooked(
    '! grep -q bad "$SHADOW_AGENT_PATH"',
    async (world) => {
      const run = await refused(world);
      await world.hasStatus({ code: 'HOOK_FAILED', hash: sha256(bad) });
      await run.stop();
      writeFileSync(world.path(), bad);
      const again = await world.start();
      await until('the metrics', () => metrics(world).includes(`sha256="${sha256(bad)}"`));
      expect(metrics(world)).toContain('file_up_to_date{property="s3"} 0');
      expect(metrics(world)).toContain('file_error{property="s3",code="HOOK_FAILED"} 1');
      expect(world.status()).toMatchObject({ status: 'failed', code: 'HOOK_FAILED', hash: sha256(bad) });
      expect(world.reported('s3')).toMatchObject({ hash: sha256(bad) });
      expect(await fileStatus(world)).toMatchObject({ status: 'failed', error: { code: 'HOOK_FAILED' } });
      await again.stop();
      expect(await fileStatus(world)).toMatchObject({ status: 'failed', error: { code: 'HOOK_FAILED' } });
      const once = await world.run(['--config', world.device.configPath, '--once']);
      expect(await once.exit).toBe(1);
      expect(once.log).toMatch(/^error: HOOK_FAILED: /m);
    },
    { config: { metricsFile: 'metrics.prom' } },
  ));

test('a file that could not be had, and that somebody puts there by hand, is current, with nothing failed', () =>
  scenario(async (world) => {
    const run = await world.start();
    world.desire({ s3: missing });
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND', hash: sha256(better) });
    await run.stop();
    writeFileSync(world.path(), better);
    expect(await fileStatus(world)).toMatchObject({ status: 'unknown', error: null });
    await world.run();
    await world.inSync(sha256(better));
    expect(await fileStatus(world)).toMatchObject({ status: 'current', error: null, retryAt: null });
  }));

test('of a file that is in place already there is none, and the hint says how it stays', () =>
  hooked('exit 0', async (world) => {
    await refused(world);
    await world.inSync(sha256(bad));
    for (const run of world.runs) await run.stop();
    writeFileSync(world.path(), good);
    const run = await rollback(world);
    expect(run.child.exitCode).toBe(1);
    expect(run.log).toMatch(
      /^error: INSTALL: s3: The previous file is in place already\nhint: desire its hash/m,
    );
  }));

test('holds nothing that was never installed: what the device refuses to fetch is free once it may', () =>
  hooked('exit 0', async (world) => {
    const run = await refused(world);
    await world.inSync(sha256(bad));
    world.desire({ s3: { url: 's3://elsewhere/x', hash: sha256(better), size: -1 } });
    await world.hasStatus({ status: 'failed', code: 'DESIRED_INVALID' });
    await run.stop();
    const back = await rollback(world);
    expect(back.output).toContain(`${sha256(bad)} is held until another hash is desired\n`);
  }));
