/** `metricsFile`, with the compiled executable. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { examine, finding } from '../support/doctor.ts';
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
    expect(finding(await examine(world, '--metrics-file', 'none/agent.prom'), 'metrics').verdict).toBe(
      'fail',
    );
  }));
