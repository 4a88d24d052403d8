/** `metricsFile`, with the compiled executable. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import { agentStatusSchema } from '../../src/core/status.ts';
import { examine, finding } from '../support/doctor.ts';
import { hooked } from '../support/hook.ts';
import { program, toolTest } from '../support/tools.ts';
import { bucketName, scenario, sha256, until, type World } from '../support/world.ts';

const promtool = program('promtool', 'prometheus');
const hoge = sha256('hoge\n');
const config = { metricsFile: 'agent.prom' };

function metrics(world: World): string {
  const path = world.path('agent.prom');
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

test('metrics are there from the start, follow what happens, and say at the end that the link is gone', () =>
  scenario(
    async (world) => {
      const agent = await world.start();
      await until('the metrics', () => metrics(world) !== '');
      expect(metrics(world)).toContain('shadow_agent_installs_total{property="s3"} 0\n');
      expect(statSync(world.path('agent.prom')).mode & 0o777).toBe(0o644);
      await world.put('test.txt', 'hoge\n');
      await world.inSync(hoge);
      world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: 'ab'.repeat(32) } });
      await world.hasStatus({ code: 'S3_NOT_FOUND' });
      await agent.stop();
      for (const line of [
        'shadow_agent_link_up 0',
        'shadow_agent_installs_total{property="s3"} 1',
        'shadow_agent_failures_total{property="s3",code="S3_NOT_FOUND"} 1',
        'shadow_agent_received_bytes_total 5',
        'shadow_agent_file_up_to_date{property="s3"} 0',
        `shadow_agent_file_info{property="s3",sha256="${hoge}"} 1`,
      ]) {
        expect(metrics(world)).toContain(`${line}\n`);
      }
      expect(metrics(world)).toMatch(/\nshadow_agent_last_answer_timestamp_seconds \d{10}\n/);
    },
    { config },
  ));

/** Counters and errors of files, by name with labels. */
function figures(world: World): Record<string, number> {
  const lines = metrics(world).split('\n');
  const samples = lines.filter((line) => /^shadow_agent_(\w+_total|file_error|file_up_to_date)\b/.test(line));
  return Object.fromEntries(
    samples.map((line) => {
      const [, name = '', value] = /^shadow_agent_(.*) (\d+)$/.exec(line) ?? [];
      return [name.replace('property="s3"', 's3'), Number(value)];
    }),
  );
}

/** Waits until the running agent knows what is desired. */
async function isAnswered(world: World): Promise<void> {
  for (let desired: unknown = null; desired === null; ) {
    const run = await world.run(['status', '--json', '--config', world.device.configPath]);
    await run.exit;
    desired = v.parse(agentStatusSchema, JSON.parse(run.output)).files['s3']?.desired;
  }
}

test('what the metrics count is what has happened: installs, hooks, refused values, retries, bytes; of one run each', () =>
  hooked(
    'grep -q bad "$SHADOW_AGENT_PATH" && exit 3; exit 0',
    async (world) => {
      const { faults } = world.sandbox;
      faults.set('mqtt-refuse', 1, 1);
      const first = await world.start();
      await world.put('a', 'good\n');
      await world.inSync(sha256('good\n'));
      await world.put('b', 'bad\n');
      await world.hasStatus({ code: 'HOOK_FAILED' });
      world.desire({ s3: { url: 'no url', hash: 'no hash' } });
      await world.hasStatus({ code: 'DESIRED_INVALID' });
      world.desire({ s3: { url: 's3://another-bucket/a', hash: 'ab'.repeat(32) } });
      await world.hasStatus({ code: 'NOT_ALLOWED' });
      faults.set('s3-503', 1, 1);
      await world.put('c', 'better\n');
      await world.inSync(sha256('better\n'));
      const rollback = await world.run(['rollback', 's3', '--config', world.device.configPath]);
      expect(await rollback.exit).toBe(0);
      await world.put('d', 'bad again\n');
      await world.hasStatus({ code: 'HOOK_FAILED', hash: sha256('bad again\n') });
      await first.stop();
      const failed = 'failures_total{s3,code=';
      const refused = { 'file_up_to_date{s3}': 0, 'file_error{s3,code="HOOK_FAILED"}': 1 };
      expect(figures(world)).toEqual({
        'link_failures_total{code="NETWORK"}': 1,
        'installs_total{s3}': 2,
        [`${failed}"HOOK_FAILED"}`]: 2,
        [`${failed}"DESIRED_INVALID"}`]: 1,
        [`${failed}"NOT_ALLOWED"}`]: 1,
        [`${failed}"S3"}`]: 1,
        'retries_total{s3}': 1,
        'rollbacks_total{s3}': 3,
        received_bytes_total: 'good\nbad\nbetter\nbad again\n'.length,
        ...refused,
      });

      const second = await world.run();
      await second.logged('Connected to AWS IoT');
      await isAnswered(world);
      await second.stop();
      expect(figures(world)).toEqual({
        'installs_total{s3}': 0,
        'retries_total{s3}': 0,
        'rollbacks_total{s3}': 0,
        received_bytes_total: 0,
        ...refused,
      });
    },
    { config, file: { allow: [`s3://${bucketName}/`] } },
  ));

test('an agent that is started while it is cut off keeps telling the last answer and the errors of before', () =>
  hooked(
    'exit 3',
    async (world) => {
      await world.put('a', 'bad\n');
      const first = await world.start();
      await world.hasStatus({ code: 'HOOK_FAILED' });
      await first.stop();
      const answered = /^shadow_agent_last_answer_timestamp_seconds \d{10}$/m.exec(metrics(world))?.[0];
      expect(answered).toBeDefined();
      world.sandbox.faults.set('mqtt-refuse', 1);
      const second = await world.run();
      await second.logged('retryInSeconds');
      const run = await world.run(['status', '--config', world.device.configPath]);
      expect(await run.exit).toBe(1);
      expect(run.output).toContain('HOOK_FAILED: The hook exited with 3');
      await second.stop();
      expect(metrics(world)).toContain('shadow_agent_link_up 0\n');
      expect(metrics(world)).toContain(`${answered}\n`);
      expect(metrics(world)).toContain('file_error{property="s3",code="HOOK_FAILED"} 1\n');
    },
    { config },
  ));

/** What promtool finds wrong with an expectation of an alert of the README, on the metrics that were written. */
function alerted(world: World, query: string, expected: string): string {
  const samples = metrics(world)
    .split('\n')
    .filter((line) => /^[^#]/.test(line));
  const tests = {
    rule_files: [],
    evaluation_interval: '1m',
    tests: [
      {
        interval: '1m',
        input_series: samples.map((line) => ({
          series: line.slice(0, line.lastIndexOf(' ')),
          values: `${line.slice(line.lastIndexOf(' ') + 1)}+0x300`,
        })),
        promql_expr_test: [
          { expr: query, eval_time: '4h', exp_samples: [{ labels: expected, value: 4 * 3600 }] },
        ],
      },
    ],
  };
  writeFileSync(world.path('alerts.yml'), JSON.stringify(tests));
  const { stdout, stderr } = spawnSync(promtool.path, ['test', 'rules', 'alerts.yml'], {
    cwd: world.device.dir,
    encoding: 'utf8',
  });
  return (stdout + stderr).replace(/^\s*SUCCESS\s*$|^.*alerts\.yml$/gm, '').trim();
}

toolTest(
  [promtool],
  'the alert of the README for a device that is cut off rings for one that was never answered',
  () =>
    scenario(
      async (world) => {
        const [, query = ''] = /cut off.*\| `([^`]+)`/.exec(readFileSync('README.md', 'utf8')) ?? [];
        expect(query).toContain('time()');
        world.sandbox.faults.set('mqtt-refuse', 1);
        const agent = await world.run();
        await until('the metrics', () => metrics(world) !== '');
        await agent.stop();
        expect(alerted(world, query, '{}')).toBe('');
      },
      { config },
    ),
);

toolTest([promtool], 'promtool finds nothing to say against the file', () =>
  scenario(
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      const agent = await world.start();
      await world.inSync(hoge);
      await agent.stop();
      const check = spawnSync(promtool.path, ['check', 'metrics'], {
        input: metrics(world),
        encoding: 'utf8',
      });
      expect([check.status, check.stdout, check.stderr]).toEqual([0, '', '']);
    },
    { config },
  ),
);

test('metrics that would replace another file of the agent are refused; doctor looks at their directory and name', () =>
  scenario(async (world) => {
    for (const path of ['private.key', 'agent.json', 'tmpfile']) {
      const run = await world.run(['--config', world.device.configPath, '--metrics-file', path]);
      expect(await run.exit).toBe(78);
      expect(run.log).toMatch(/^error: (--metrics-file|files\[0\]\.path): .*is the same as/m);
    }
    const good = await examine(world, '--metrics-file', 'agent.prom');
    expect(finding(good, 'metrics').verdict).toBe('ok');
    expect(finding(await examine(world, '--metrics-file', 'agent.txt'), 'metrics').verdict).toBe('warn');
    const nowhere = await examine(world, '--metrics-file', 'none/agent.prom');
    expect(finding(nowhere, 'metrics')).toMatchObject({
      verdict: 'fail',
      message: expect.stringMatching(/^there is no directory .*none$/),
      hint: expect.stringContaining('make it'),
    });
  }));
