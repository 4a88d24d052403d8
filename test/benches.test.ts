/** Each bench that the README names and CI does not run as it is: once, with the least that goes through all its parts. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { instructionsOf } from './bench/instructions.ts';
import { nginxProgram } from './bench/nginx.ts';
import { pythonClients } from './support/clients-python.ts';
import { fileOf, program, toolTest } from './support/tools.ts';

const main = join(import.meta.dir, 'bench/main.ts');
const python = await pythonClients();
const timeoutMs = 240_000;

describe('bun run bench', () => {
  const dir = mkdtempSync(join(tmpdir(), 'shadow-agent-benches-'));
  afterAll(() => rm(dir, { recursive: true, force: true }));

  /** Runs a bench to its end. @returns what it printed and what it wrote */
  async function bench(...args: string[]) {
    const child = spawn(process.execPath, [main, ...args], { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
    const closed = once(child, 'close');
    const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code] = await closed;
    if (code !== 0) throw new Error(`exit ${code} of ${args.join(' ')}:\n${output}${errors}`);
    const [, path = ''] = /^written to (.*)$/m.exec(output) ?? [];
    const { rows } = JSON.parse(await readFile(join(dir, path), 'utf8'));
    return { output, path, rows: rows as unknown[] };
  }

  const others = [nginxProgram, program('curl'), program('openssl')];
  // It waits for a ping, of which the least time is 30 s: meanwhile the others run.
  let idle: ReturnType<typeof bench>;
  const ss = program('ss', 'iproute2');
  beforeAll(() => {
    idle = ss.found ? bench('idle') : Promise.reject(new Error('there is no ss'));
    idle.catch(() => undefined);
  });

  test(
    'fleet plays one upload for all devices, without and with jitter',
    async () => {
      const { output, path, rows } = await bench('fleet', '--quick');
      expect(output).toContain('20 devices, jitterSeconds 1: requests in each second');
      expect(output).toMatch(/^jitterSeconds +broker peak/m);
      expect(path).toBe('dist/bench-fleet-quick.json');
      expect(rows.length).toBe(2);
    },
    timeoutMs,
  );

  toolTest(
    [program('curl'), ...python],
    'delta tells where the time of a small update goes',
    async () => {
      const { output, rows } = await bench('delta', '--quick');
      for (const part of ['S3 is asked', 'it is reported']) {
        expect(output).toMatch(new RegExp(`^until ${part} +\\d.* \\d`, 'm'));
      }
      expect(output).toMatch(/^CPU time, JavaScript +[1-9]/m);
      expect(rows.length).toBe(14);
    },
    timeoutMs,
  );

  toolTest(
    others,
    'growth measures the points of six plots and draws them',
    async () => {
      const { output, rows } = await bench('growth', '--quick');
      expect(output).toMatch(/^plot +line +at +value/m);
      expect(rows.length).toBeGreaterThan(20);
      const svg = await readFile(join(dir, 'dist/bench-growth-quick.svg'), 'utf8');
      expect(svg.match(/<g transform/g)?.length).toBe(6);
    },
    timeoutMs,
  );

  toolTest(
    [...others, ...python],
    'speed measures all that stands in the tables',
    async () => {
      const { output, path, rows } = await bench('speed', '--quick');
      expect(path).toBe('dist/bench-speed-quick.json');
      const tables = await readFile(join(dir, 'dist/bench-speed-quick.md'), 'utf8');
      for (const figure of ['boto3', 'wall', 'delta to installed', 'idle RSS', 'executable, MB']) {
        expect(output).toContain(figure);
        expect(tables).toContain(figure);
      }
      for (const column of ['user s', 'system s', 'peak MB', 'wire MB', 'written MB', 'aim']) {
        expect(tables).toContain(` ${column} |`);
      }
      expect(JSON.stringify(rows)).toContain('"wallSeconds":');
    },
    timeoutMs,
  );

  toolTest(
    [ss],
    'idle tells what a month takes',
    async () => {
      const { output, rows } = await idle;
      expect(output).toMatch(/^a month with resyncSeconds 3600 +[12]\.\d\d$/m);
      expect(rows.length).toBe(5);
      expect(readdirSync(join(dir, 'dist'))).toContain('bench-idle.json');
    },
    timeoutMs,
  );
});

test('a bench refuses an option that it has not, and says which it has', () => {
  for (const [args, hint] of [
    // Alone it is `speed`.
    [['--quik'], '--quick'],
    [['idle', '--quik'], '--quick'],
    [['check', '--quick'], 'this bench has no options'],
    [['soak', '--quick'], '--seconds and --seed'],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
    expect(stderr).toContain(hint);
    expect(status).toBe(64);
  }
});

const loader = '/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1';
toolTest(
  [program('qemu-aarch64-static', 'qemu-user-static'), fileOf(loader, 'libc6-arm64-cross')],
  'instructions of a program for arm64 are counted, and more for more work',
  async () => {
    const little = await instructionsOf([loader, '--version'], tmpdir());
    const more = await instructionsOf([loader, '--help'], tmpdir());
    expect(little).toBeGreaterThan(1_000);
    expect(more).toBeGreaterThan(little);
  },
);

test('both hashes whose instructions are counted hash the same', () => {
  const work = join(import.meta.dir, 'bench/work.ts');
  const [native, noble] = ['native', 'noble'].map((engine) =>
    spawnSync(process.execPath, [work, engine, '1'], { encoding: 'utf8' }).stdout.trim(),
  );
  expect(native).toMatch(/^[0-9a-f]{64}$/);
  expect(noble).toBe(native);
});
