/** The systemd unit that the executable prints, as systemd judges it. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { systemdUnit } from '../../src/core/unit.ts';
import { command } from '../support/signing.ts';
import { program, root, toolTest } from '../support/tools.ts';
import { executable, Run, scenario, sha256, type World } from '../support/world.ts';

const analyze = program('systemd-analyze', 'systemd');
const strace = program('strace');

function run(tool: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

/** Prints the unit, and puts it where systemd finds it a good name. */
async function unitOf(world: World): Promise<string> {
  const text = await command(world.device.dir, 'unit', '--config', 'agent.json');
  const path = join(world.sandbox.dir, 'shadow-agent.service');
  writeFileSync(path, text);
  return path;
}

/** The system calls that a group of systemd stands for. */
function group(name: string): string[] {
  const lines = run(analyze.path, 'syscall-filter', '--no-pager', name).output.split('\n').slice(1);
  return lines
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap((line) => (line.startsWith('@') ? group(line) : [line]));
}

test('the unit is for the executable and its configuration, by their absolute paths', () =>
  scenario(async (world) => {
    const text = readFileSync(await unitOf(world), 'utf8');
    expect(text).toContain(`\nExecStart=${await executable()} --config ${world.device.configPath}\n`);
    expect(text).toContain('\nUser=shadow-agent\n');
  }));

test('a unit is printed whoever may read the key, which its own first lines mend; one that does not fit is refused', () =>
  scenario(async (world) => {
    const args = ['--config', world.device.configPath];
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    writeFileSync(world.device.configPath, JSON.stringify({ ...config, strict: true }));
    const key = world.path('private.key');
    chmodSync(key, 0o644);
    const started = await world.run(args);
    expect(await started.exit).toBe(78);
    expect(started.log).toContain('error: key: ');
    expect(readFileSync(await unitOf(world), 'utf8')).toContain(`&& chmod 400 ${key}`);
    writeFileSync(key, (await world.sandbox.pki.issueDevice('test-thing')).key);
    const made = await world.run(['unit', ...args]);
    expect([await made.exit, made.output]).toEqual([78, '']);
    expect(made.log).toContain('error: key: ');
  }));

test('a path that would forge lines of the unit is refused, and nothing is printed', () =>
  scenario(
    async (world) => {
      const made = await world.run(['unit', '--config', world.device.configPath]);
      expect([await made.exit, made.output]).toEqual([78, '']);
      expect(made.log).toContain('error: files[0].path: "');
      expect(made.log).toContain('holds a control character, which cannot be written into a unit');
    },
    { files: [{ property: 's3', path: 'x\n[Service]\nExecStartPre=+/bin/true\n#' }] },
  ));

/** How much of the system a unit is exposed to, as systemd judges it: 0 to 10. */
function exposureOf(path: string): number {
  const { output } = run(analyze.path, 'security', '--offline=true', '--no-pager', path);
  const exposure = Number(/exposure level for \S+: ([\d.]+)/.exec(output)?.[1]);
  process.stdout.write(`  exposure ${exposure} of 10\n`);
  return exposure;
}

test('the lines that install it, also run twice, make what is missing and change no directory that is there', () =>
  scenario(
    async (world) => {
      const username = run('id', '-un').output.trim();
      const there = join(world.device.dir, 'there');
      const stateDir = join(world.device.dir, 'state');
      mkdirSync(there, { mode: 0o700 });
      const unit = await command(world.device.dir, 'unit', '--config', 'agent.json', '--user', username);
      const lines = unit.split('\n').flatMap((line) => /^# {3}(.*install -d.*)/.exec(line)?.[1] ?? []);
      expect(lines).toHaveLength(3);
      for (let times = 0; times < 2; times += 1)
        expect(run('sh', '-ec', lines.join('\n'))).toEqual({ status: 0, output: '' });
      const modes = [there, join(world.device.dir, 'new/one'), stateDir].map((path) => statSync(path));
      expect(modes.map(({ mode }) => (mode & 0o777).toString(8))).toEqual(['700', '755', '700']);
      expect(modes.map(({ uid }) => uid)).toEqual(modes.map(() => process.getuid?.() ?? -1));
    },
    {
      files: [
        { property: 's3', path: 'there/model.bin' },
        { property: 'other', path: 'new/one/model.bin' },
      ],
    },
  ));

test('a directory on the way that keeps the user of the service out is told, with what to do, and none that does not', () =>
  scenario(
    async (world) => {
      // The executable may lie behind a closed directory of its own.
      const closed = (text: string) =>
        [...text.matchAll(/^# {3}# (\S+) is closed to /gm)]
          .map(([, at = '']) => at)
          .filter((at) => at.startsWith(world.sandbox.dir));
      const unitFor = (...user: string[]) =>
        command(world.device.dir, 'unit', '--config', 'agent.json', ...user);
      const home = join(world.device.dir, 'home');
      mkdirSync(join(home, 'app'), { recursive: true });
      symlinkSync('home/app', join(world.device.dir, 'linked'));
      const above = dirname(world.device.dir);
      for (const path of [world.sandbox.dir, above, world.device.dir]) chmodSync(path, 0o755);
      expect(closed(await unitFor())).toEqual([]);
      chmodSync(home, 0o700);
      expect(closed(await unitFor())).toEqual([home]);
      expect(closed(await unitFor('--user', run('id', '-un').output.trim()))).toEqual([]);
      chmodSync(above, 0o700);
      expect(closed(await unitFor())).toEqual([above, home]);
    },
    { files: [{ property: 's3', path: 'linked/new/model.bin' }] },
  ));

test('where configuration and key are links, it is what they lead to that the lines give to the service', () =>
  scenario(async (world) => {
    const { dir, configPath } = world.device;
    mkdirSync(join(dir, 'versions/1'), { recursive: true });
    for (const name of ['agent.json', 'private.key']) {
      renameSync(join(dir, name), join(dir, 'versions/1', name));
      symlinkSync(join('versions/1', name), join(dir, name));
    }
    const unit = await command(dir, 'unit', '--config', 'agent.json');
    const real = realpathSync(join(dir, 'versions/1'));
    expect(unit).toContain(` chown -h shadow-agent ${real}/private.key && chmod 400 ${real}/private.key`);
    expect(unit).toContain(` ${real}/agent.json && chmod g+r,o= ${real}/agent.json`);
    expect(/^# {3}chmod a\+x (.*)$/m.exec(unit)?.[1]?.split(' ')).toContain(real);
    expect(unit).toContain(`--config ${configPath} `);
  }));

test('a state directory in which another program keeps something makes no unit, one of an agent before does', () =>
  scenario(async (world) => {
    const state = join(world.device.dir, 'state');
    const unit = async () => {
      const made = await world.run(['unit', '--config', 'agent.json', '--user', 'daemon']);
      return { code: await made.exit, log: made.log };
    };
    mkdirSync(state);
    expect((await unit()).code).toBe(0);
    for (const name of ['state.json', 'agent.sock', 'hook.x']) writeFileSync(join(state, name), '');
    expect((await unit()).code).toBe(0);
    writeFileSync(join(state, 'database'), '');
    const { code, log } = await unit();
    expect([code, log]).toEqual([
      78,
      expect.stringMatching(/^error: stateDir: \S+state is there, and holds what is not/m),
    ]);
  }));

toolTest([root], 'a target directory that a link of root’s leads to is judged by its true path', () =>
  scenario(
    async (world) => {
      symlinkSync('/usr/share', join(world.device.dir, 'linked'));
      const unit = await command(world.device.dir, 'unit', '--config', 'agent.json');
      expect(unit).toContain("#   # /usr/share is the system's or an account's, not to be given away");
      expect(unit).not.toContain('linked/job');
    },
    { files: [{ property: 's3', path: 'linked/job' }] },
  ),
);

test('what is opened to the service is named by its true path, so that nothing is opened that is to stay closed', () =>
  scenario(async (world) => {
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    mkdirSync(join(world.device.dir, 'safe'));
    writeFileSync(
      join(world.device.dir, 'safe/private.key'),
      readFileSync(join(world.device.dir, config.key)),
    );
    chmodSync(join(world.device.dir, 'safe/private.key'), 0o600);
    symlinkSync('safe', join(world.device.dir, 'linked'));
    writeFileSync(world.device.configPath, JSON.stringify({ ...config, key: 'linked/private.key' }));
    const unit = await command(world.device.dir, 'unit', '--config', 'agent.json');
    const [, opened = ''] = /^# {3}chmod a\+x (.*)$/m.exec(unit) ?? [];
    expect(opened.split(' ')).toContain(realpathSync(join(world.device.dir, 'safe')));
    expect(opened).not.toContain('linked');
  }));

test('root is not to run what the agent may replace: the unit of such an executable is made by another copy', () =>
  scenario(
    async (world) => {
      const own = join(world.device.dir, 'bin/shadow-agent');
      mkdirSync(dirname(own));
      copyFileSync(await executable(), own);
      const at = ['unit', '--config', 'agent.json'];
      const refused = new Run(own, at, world.device.dir, {});
      world.runs.push(refused);
      expect([await refused.exit, refused.output]).toEqual([78, '']);
      expect(refused.log).toMatch(/^error: executable: \S+bin\/shadow-agent lies where the agent may write/m);
      expect(refused.log).toContain(`/usr/local/bin, with --program ${own}`);
      const unit = await command(world.device.dir, ...at, '--program', 'bin/shadow-agent');
      expect(unit).toContain(`\nExecStart=${own} --config `);
      expect(unit).toContain(`--user shadow-agent --program ${own}) && printf`);
      expect(unit).not.toContain(`$(${own}`);
    },
    { files: [{ property: 'agent', path: 'bin/shadow-agent' }] },
  ));

toolTest([root], 'a home that is closed to root without its rights, as the unit starts it, is told too', () =>
  scenario(
    async (world) => {
      const home = join(world.device.dir, 'home');
      mkdirSync(join(home, 'app'), { recursive: true });
      chmodSync(home, 0o700);
      const unitFor = () => command(world.device.dir, 'unit', '--config', 'agent.json', '--user', 'root');
      const line = `#   # ${home} is closed to root, and is to stay so: `;
      expect(await unitFor()).not.toContain(line);
      chownSync(home, 12345, 12345);
      expect(await unitFor()).toContain(line);
    },
    { files: [{ property: 's3', path: 'home/app/model.bin' }] },
  ),
);

toolTest([analyze], 'systemd finds nothing wrong with the unit, though its configuration is in /tmp', () =>
  scenario(
    async (world) => {
      const path = await unitOf(world);
      expect(run(analyze.path, 'verify', path)).toEqual({ status: 0, output: '' });
      expect(exposureOf(path)).toBeLessThanOrEqual(1.3);
    },
    { files: [{ property: 's3', path: '/srv/app/model.bin' }] },
  ),
);

toolTest([analyze], 'where all is where the README puts it, the exposure of the unit is 1.1 or less', () =>
  scenario(async (world) => {
    const path = join(world.sandbox.dir, 'shadow-agent.service');
    const text = systemdUnit({
      command: ['/usr/local/bin/shadow-agent'],
      maker: ['/usr/local/bin/shadow-agent'],
      configPath: '/etc/shadow-agent/agent.json',
      thingName: 'test-thing',
      stateDir: '/var/lib/shadow-agent',
      key: '/etc/shadow-agent/private.key',
      certificates: ['/etc/shadow-agent/certificate.pem', '/etc/shadow-agent/AmazonRootCA1.pem'],
      real: {
        config: '/etc/shadow-agent/agent.json',
        key: '/etc/shadow-agent/private.key',
        certificates: [],
      },
      readFrom: ['/etc/shadow-agent'],
      files: [{ path: '/var/lib/app/model.bin' }],
      passed: [],
      user: { name: 'shadow-agent' },
    });
    writeFileSync(path, text);
    expect(exposureOf(path)).toBeLessThanOrEqual(1.1);
  }),
);

toolTest(
  [analyze, strace],
  'what the executable asks of the kernel is all that the unit lets it',
  async () => {
    const tracer = [strace.path, '-D', '-f', '-qq', '-o', 'calls'] as const;
    await scenario(
      async (world) => {
        await world.put('test.txt', 'hoge\n');
        const run = await world.start();
        await world.inSync(sha256('hoge\n'));
        await run.stop();
        const lines = readFileSync(join(world.device.dir, 'calls'), 'utf8').split('\n');
        const called = new Set(
          lines.flatMap((line) => /^\d+ +(?:<\.\.\. )?([a-z]\w*)/.exec(line)?.[1] ?? []),
        );
        const allowed = new Set([...group('@system-service'), ...group('@default')]);
        const denied = new Set([...group('@resources'), ...group('@privileged')]);
        expect(called.size).toBeGreaterThan(40);
        expect([...called].filter((name) => !allowed.has(name) || denied.has(name))).toEqual([]);
        const families = lines.flatMap((line) => /socket\((AF_\w+)/.exec(line)?.[1] ?? []);
        expect(families.filter((name) => !/^AF_(INET6?|UNIX|NETLINK)$/.test(name))).toEqual([]);
      },
      { command: [...tracer, await executable()] },
    );
  },
);
