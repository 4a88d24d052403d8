import { describe, expect, test } from 'bun:test';
import { systemdUnit, unitProblems } from '../../src/core/unit.ts';
import { type UnitRequest, unique } from '../../src/core/unit-request.ts';
import { directoryOf } from '../../src/core/whose.ts';

function requestOf(changes: Partial<UnitRequest> = {}): UnitRequest {
  const request = {
    command: ['/usr/local/bin/shadow-agent'],
    maker: ['/usr/local/bin/shadow-agent'],
    configPath: '/etc/shadow-agent/agent.json',
    thingName: 'test-thing',
    stateDir: '/var/lib/shadow-agent',
    key: '/etc/shadow-agent/private.key',
    certificates: ['/etc/shadow-agent/certificate.pem', '/etc/ssl/root.pem'],
    files: [{ path: '/srv/app/model.bin' }],
    passed: [],
    user: { name: 'shadow-agent' },
    ...changes,
  };
  const { configPath, key, certificates } = request;
  const readFrom = unique([configPath, key, ...certificates].map(directoryOf));
  const real = { config: configPath, key, certificates };
  return { real, readFrom, ...request };
}

function unitOf(changes: Partial<UnitRequest> = {}): string {
  return systemdUnit(requestOf(changes));
}

/** How a line begins that tells of a link, and does what follows to a file alone. */
function unlessLink(path: string): string {
  return `if [ -L ${path} ]; then echo ${path} 'is a link where others than root may put one: left as it is' >&2; else`;
}

/** The values of one directive. */
function values(text: string, name: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}=`))
    .map((line) => line.slice(name.length + 1));
}

describe('the unit of a configuration', () => {
  test('may write to its state and the directories of its targets, and to nothing else', () => {
    const text = unitOf({ files: [{ path: '/srv/app/a' }, { path: '/srv/app/b' }, { path: '/opt/x/c' }] });
    expect(values(text, 'ProtectSystem')).toEqual(['strict']);
    expect(values(text, 'StateDirectory')).toEqual(['shadow-agent']);
    expect(values(text, 'ReadWritePaths')).toEqual(['-/srv/app -/opt/x']);
    expect(values(text, 'ReadOnlyPaths')).toEqual(['-/etc/shadow-agent -/etc/ssl']);
    expect(values(text, 'ProtectHome')).toEqual(['yes']);
    expect(values(text, 'PrivateTmp')).toEqual(['yes']);
  });

  test('says how the user of the service is let in to key, certificates and configuration', () => {
    const lines = unitOf().split('\n');
    expect(lines).toContain('#   chmod a+x /etc/shadow-agent /etc/ssl');
    expect(lines.filter((line) => line.startsWith('#   chmod a+r '))).toEqual([
      '#   chmod a+r /etc/shadow-agent/certificate.pem',
      '#   chmod a+r /etc/ssl/root.pem',
    ]);
    // For the same user again, and never an empty file, which would mask the service.
    expect(lines.find((line) => line.includes('shadow-agent.service'))).toMatch(
      /^# {3}unit=\$\(.* unit --config \S+ --user \S+\) && printf '%s\\n' "\$unit" >\/etc\/systemd\/system\/shadow-agent\.service$/,
    );
  });

  test('has the user made who is not there yet', () => {
    expect(unitOf()).toContain(
      '#   useradd --system --no-create-home --shell /usr/sbin/nologin shadow-agent\n',
    );
    expect(unitOf({ user: { name: 'app', uid: 1000, gid: 1000 } })).not.toContain('useradd');
  });

  test('says what "owner" means in a directory of the system’s', () => {
    const owner = { uid: 1000, gid: 1000 };
    const remark = 'may change the owner of all that is in /etc (CAP_CHOWN)';
    expect(unitOf({ files: [{ path: '/etc/motd', owner }, { path: '/srv/a' }] })).toContain(remark);
    // The right is the whole unit's, whichever file it is for.
    expect(unitOf({ files: [{ path: '/etc/motd' }, { path: '/srv/app/a', owner }] })).toContain(remark);
    expect(unitOf({ files: [{ path: '/etc/motd' }] })).not.toContain('CAP_CHOWN');
  });

  test('never makes the root directory writable, which would make everything so', () => {
    const text = unitOf({ files: [{ path: '/foo' }, { path: '/srv/a' }], metricsFile: '/agent.prom' });
    expect(values(text, 'ReadWritePaths')).toEqual(['-/srv']);
    expect(text).toContain(
      "#   # / is the system's or an account's, not to be given away: keep the file in a directory of its own;",
    );
    expect(text).not.toContain('install -d -o shadow-agent / ');
    expect(text).not.toContain('chown shadow-agent: /foo');
    expect(values(unitOf({ files: [{ path: '/foo' }] }), 'ReadWritePaths')).toEqual(['']);
  });

  test('says that a proxy of the environment is not for the service, without a word to type', () => {
    const remark =
      '# HTTPS_PROXY is set where this was made, but not for the service: if it needs the proxy, set "proxy"';
    expect(unitOf({ proxyVariable: 'HTTPS_PROXY' })).toContain(
      `\n#\n${remark} in /etc/shadow-agent/agent.json.\n`,
    );
    expect(unitOf()).not.toContain('HTTPS_PROXY');
  });

  test.each([
    ...[
      '/etc',
      '/usr/local/bin',
      '/opt',
      '/var/lib',
      '/lib/firmware',
      '/etc/cron.d',
      '/boot/efi',
      '/etc/app',
    ],
    ...['/etc/udev/rules.d', '/etc/default', '/etc/shadow-agent.d', '/var/spool/cron/crontabs', '/var/www'],
    ...['/root', '/root/.ssh', '/home/pi', '/home/pi/.ssh'],
  ])('never gives away %s, which is the system’s or an account’s, nor a file in it', (directory) => {
    const text = unitOf({ files: [{ path: `${directory}/f` }] });
    expect(text).not.toContain('install -d');
    expect(text).not.toContain('[ ! -e');
    expect(text).toContain(
      `#   # ${directory} is the system's or an account's, not to be given away: keep the file in a directory of its own, or make the unit for its owner, by --user\n`,
    );
  });

  test('hands a file over that is there already, unless it is to be of another owner', () => {
    const files = [
      { path: '/srv/app/a' },
      { path: '/srv/app/b', owner: { uid: 1, gid: 1 } },
      { path: '/etc/motd' },
    ];
    const lines = unitOf({ files }).split('\n');
    expect(lines.filter((line) => line.includes('[ ! -e '))).toEqual([
      '#   [ ! -e /srv/app/a ] || chown -h shadow-agent: /srv/app/a',
    ]);
  });

  test('follows no link that the agent may have put in the place of what it reads or writes', () => {
    const files = [{ path: '/etc/shadow-agent/out' }];
    const text = unitOf({ files, certificates: ['/etc/shadow-agent/c.pem', '/etc/ssl/root.pem'] });
    const typed = text.split('\n').filter((line) => /^# {3}(?!#).*\b(ch(own|mod|grp)) /.test(line));
    expect(typed).toEqual([
      `#   ${unlessLink('/etc/shadow-agent/private.key')} chown -h shadow-agent /etc/shadow-agent/private.key && chmod 400 /etc/shadow-agent/private.key; fi`,
      '#   chmod a+x /etc/shadow-agent /etc/ssl',
      `#   ${unlessLink('/etc/shadow-agent/agent.json')} chgrp -h "$(id -gn shadow-agent)" /etc/shadow-agent/agent.json && chmod g+r,o= /etc/shadow-agent/agent.json; fi`,
      `#   ${unlessLink('/etc/shadow-agent/c.pem')} chmod a+r /etc/shadow-agent/c.pem; fi`,
      '#   chmod a+r /etc/ssl/root.pem',
      `#   [ -d /etc/shadow-agent ] || install -d -o shadow-agent /etc/shadow-agent    # if another's: chgrp "$(id -gn shadow-agent)" /etc/shadow-agent && chmod g+wx /etc/shadow-agent`,
      '#   [ ! -e /etc/shadow-agent/out ] || chown -h shadow-agent: /etc/shadow-agent/out',
    ]);
    // So may any other user in a directory of theirs.
    const key = '/srv/pi/private.key';
    const passed = [{ path: '/srv/pi', isClosed: false, isOthers: true }];
    expect(unitOf({ key, passed })).toContain(`#   ${unlessLink(key)} chown -h `);
    expect(unitOf({ key })).not.toContain(unlessLink(key));
    // Its state is its own, and so is all below a directory that it may write to.
    for (const key of ['/var/lib/shadow-agent/private.key', '/srv/app/keys/private.key'])
      expect(unitOf({ key, files: [{ path: '/srv/app/f' }] })).toContain(`#   ${unlessLink(key)} chown -h `);
  });

  test.each([
    ...['/opt/app', '/var/lib/app', '/home/pi/app', '/srv/app/models', '/mnt/ssd/app'],
    // Beside the configuration, which somebody made for the agent.
    ...['/etc/shadow-agent', '/etc/shadow-agent/out'],
  ])('has %s made for the user of the service, and left as it is where it is there', (directory) => {
    const text = unitOf({ files: [{ path: `${directory}/f` }] });
    expect(text).toContain(
      `#   [ -d ${directory} ] || install -d -o shadow-agent ${directory}    # if another's: chgrp "$(id -gn shadow-agent)" ${directory} && chmod g+wx ${directory}\n`,
    );
  });

  test('makes its own state directory where that is not in /var/lib, and says so', () => {
    const text = unitOf({ stateDir: '/data/agent', files: [{ path: '/srv/app/a' }] });
    expect(values(text, 'StateDirectory')).toEqual([]);
    expect(values(text, 'ReadWritePaths')).toEqual(['-/data/agent -/srv/app']);
    expect(text).toContain('#   [ -d /data/agent ] || install -d -m 700 -o shadow-agent /data/agent\n');
  });

  test('says what becomes of a state directory that may be another’s', () => {
    const remark = 'nobody but shadow-agent gets into it, who must own it';
    for (const stateDir of ['/data', '/home/pi/.local/state/shadow-agent', '/var/spool/shadow-agent'])
      expect(unitOf({ stateDir })).toContain(
        `#   [ -d ${stateDir} ] || install -d -m 700 -o shadow-agent ${stateDir}\n#   # if ${stateDir} is there already: ${remark}`,
      );
    expect(unitOf({ stateDir: '/srv/agent' })).not.toContain(remark);
    expect(unitOf()).not.toContain(remark);
  });

  test('has a state directory in /run made at each start, and says that it goes', () => {
    const text = unitOf({ stateDir: '/run/shadow-agent' });
    expect(values(text, 'RuntimeDirectory')).toEqual(['shadow-agent']);
    expect(values(text, 'RuntimeDirectoryMode')).toEqual(['0700']);
    expect(values(text, 'RuntimeDirectoryPreserve')).toEqual(['yes']);
    expect(values(text, 'StateDirectory')).toEqual([]);
    expect(text).not.toContain('install -d -m 700');
    expect(text).toContain('#   # /run is emptied when the device starts');
  });

  test.each([
    ['/root', '/root/agent.json'],
    ['/home/pi', '/home/pi/agent.json'],
    ['/home/pi/.aws', '/etc/shadow-agent/agent.json'],
    ['/etc/ssl/private', '/etc/shadow-agent/agent.json'],
    ['/root/agent', '/root/agent/agent.json'],
  ])('never opens %s, and says what to do instead', (directory, configPath) => {
    const key = `${directory}/private.key`;
    const text = unitOf({ configPath, key, passed: [{ path: directory, isClosed: true }] });
    const opened = text.split('\n').find((line) => line.startsWith('#   chmod a+x '));
    expect(opened?.split(' ')).not.toContain(directory);
    expect(text).toContain(
      `#   # ${directory} is closed to shadow-agent, and is to stay so: move what the service uses there to a directory of its own, or make the unit for a user who may enter it, by --user\n`,
    );
    expect(unitOf({ configPath, key, passed: [{ path: directory, isClosed: false }] })).not.toContain(
      'is closed',
    );
  });

  test('writes no line of its own for a closed directory behind a link whose name holds a line feed', () => {
    const text = unitOf({
      passed: [{ path: '/srv/x\n[Service]\nExecStartPre=+/bin/true\n#', isClosed: true }],
    });
    expect(text).toContain('#   # /srv/x\\x0a[Service]\\x0aExecStartPre=+/bin/true\\x0a# is closed to ');
    expect(values(text, 'ExecStartPre')).toEqual([]);
  });

  test('says of no directory that it is closed which its lines open', () => {
    const passed = [{ path: '/etc/shadow-agent', isClosed: true }];
    expect(unitOf({ passed })).not.toContain('is closed');
  });

  test('makes a state directory with a colon itself: behind one, systemd would name a link', () => {
    const text = unitOf({ stateDir: '/var/lib/a:b' });
    expect(values(text, 'StateDirectory')).toEqual([]);
    expect(values(text, 'ReadWritePaths')).toEqual(['-/var/lib/a:b -/srv/app']);
    expect(text).toContain('#   [ -d /var/lib/a:b ] || install -d -m 700 -o shadow-agent /var/lib/a:b\n');
  });

  test('keeps key and certificates read-only where a target lies beside them', () => {
    const text = unitOf({ files: [{ path: '/etc/shadow-agent/out' }] });
    const [readOnly] = values(text, 'ReadOnlyPaths');
    expect(readOnly?.split(' ')).toContain('-/etc/shadow-agent/private.key');
    expect(readOnly?.split(' ')).not.toContain('-/etc/shadow-agent');
    const [beside] = values(unitOf({ key: '/var/lib/shadow-agent/private.key' }), 'ReadOnlyPaths');
    expect(beside?.split(' ')).toContain('-/var/lib/shadow-agent/private.key');
    expect(beside?.split(' ')).not.toContain('-/var/lib/shadow-agent');
  });

  test('sees /tmp and home directories only where the configuration names them', () => {
    expect(values(unitOf({ files: [{ path: '/tmp/tmpfile' }] }), 'PrivateTmp')).toEqual(['no']);
    const home = { path: '/root/agent', isClosed: false };
    const hook = { path: '/srv/app/f', onInstall: { command: ['/home/pi/apply', '/home/pi/x'] } };
    for (const changes of [{ files: [{ path: '/home/pi/f' }] }, { files: [hook] }, { passed: [home] }])
      expect(values(unitOf(changes), 'ProtectHome')).toEqual(['read-only']);
  });

  test('has no capability, unless a file is for another user', () => {
    const owner = { uid: 1000, gid: 1000 };
    const files = [{ path: '/srv/f', owner }];
    expect(values(unitOf(), 'CapabilityBoundingSet')).toEqual(['']);
    expect(values(unitOf(), 'PrivateUsers')).toEqual(['yes']);
    const needs = unitOf({ files });
    expect(values(needs, 'AmbientCapabilities')).toEqual(['CAP_CHOWN CAP_FOWNER CAP_DAC_READ_SEARCH']);
    expect(values(needs, 'PrivateUsers')).toEqual(['no']);
    expect(values(needs, 'SystemCallFilter')).toEqual(['@system-service', '~@resources']);
    const own = unitOf({ files, user: { name: 'app', uid: 1000, gid: 1000 } });
    expect(values(own, 'AmbientCapabilities')).toEqual(['']);
    expect(values(own, 'User')).toEqual(['app']);
  });

  test('may set set-user-id bits only where a mode asks for it, and leaves hooks their umask', () => {
    expect(values(unitOf(), 'RestrictSUIDSGID')).toEqual(['yes']);
    expect(values(unitOf({ files: [{ path: '/srv/f', mode: 0o4755 }] }), 'RestrictSUIDSGID')).toEqual(['no']);
    const hooked = unitOf({ files: [{ path: '/srv/f', onInstall: { command: ['/bin/true'] } }] });
    expect(values(hooked, 'UMask')).toEqual(['0022']);
    expect(hooked).toContain('# Hooks run in here too');
  });

  test('never gives up, waits for the network and the time, and leaves 5 s to stop', () => {
    const text = unitOf();
    expect(values(text, 'Restart')).toEqual(['always']);
    expect(values(text, 'StartLimitIntervalSec')).toEqual(['0']);
    expect(values(text, 'After')).toEqual(['network-online.target time-sync.target']);
    expect(Number(values(text, 'TimeoutStopSec')[0])).toBeGreaterThan(5);
    expect(text).not.toMatch(/^LimitAS=/m);
  });

  test('unsets what turns the executable into something else, sends or writes of it elsewhere, or changes whom it trusts', () => {
    expect(values(unitOf(), 'UnsetEnvironment')[0]?.split(' ').sort()).toEqual([
      'BUN_BE_BUN',
      'BUN_BYTECODE_DIGEST_OUT',
      'BUN_BYTECODE_ORDER_OUT',
      'BUN_CONFIG_VERBOSE_FETCH',
      'BUN_CRASH_REPORT_URL',
      'BUN_ENABLE_CRASH_REPORTING',
      'BUN_FEATURE_FLAG_INTERNAL_FOR_TESTING',
      'BUN_INSPECT',
      'BUN_INSPECT_CONNECT_TO',
      'BUN_INSPECT_PRELOAD',
      'BUN_OPTIONS',
      'DEBUG',
      'LD_AUDIT',
      'LD_LIBRARY_PATH',
      'LD_PRELOAD',
      'NODE_CHANNEL_FD',
      'NODE_EXTRA_CA_CERTS',
      'NODE_OPTIONS',
      'NODE_TLS_REJECT_UNAUTHORIZED',
      'SSLKEYLOGFILE',
      'SSL_CERT_DIR',
      'SSL_CERT_FILE',
    ]);
  });

  test('opens a configuration with a password to the user alone where others are in the group', () => {
    const config = '/etc/shadow-agent/agent.json';
    const line = `#   chown -h shadow-agent ${config} && chmod 400 ${config}\n`;
    expect(unitOf({ isSecretShared: true })).toContain(line);
    expect(unitOf({ isSecretShared: true })).not.toContain('g+r');
    expect(unitOf({ isSecretShared: false })).not.toContain(line);
  });

  test('tells that a target in the state directory is closed to all others', () => {
    const text = unitOf({ stateDir: '/var/lib/app', files: [{ path: '/var/lib/app/model.bin' }] });
    expect(text).toContain(
      '#   # nobody but shadow-agent can read /var/lib/app/model.bin: /var/lib/app is the state',
    );
    expect(unitOf()).not.toContain('nobody but');
  });

  test('quotes what systemd would read otherwise', () => {
    const configPath = '/etc/a b/100%/$HOME/"x".json';
    const [line] = values(unitOf({ configPath }), 'ExecStart');
    expect(line).toBe('/usr/local/bin/shadow-agent --config "/etc/a b/100%%/$$HOME/\\"x\\".json"');
  });
});

describe('no unit is made of a path with a control character, such as', () => {
  const forged = '/x\n[Service]\nExecStartPre=+/bin/true\n#';

  test.each<[string, Partial<UnitRequest>]>([
    ['executable', { command: [forged] }],
    ['config', { configPath: `${forged}/agent.json` }],
    ['stateDir', { stateDir: forged }],
    ['metricsFile', { metricsFile: '/srv/\r.prom' }],
    ['key', { key: '/etc/\u0085key' }],
    ['cert, ca', { certificates: ['/etc/a.pem', '/etc/\u001b.pem'] }],
    ['files[1].path', { files: [{ path: '/srv/a' }, { path: forged }] }],
  ])('%s', (path, changes) => {
    const problems = unitProblems(requestOf(changes));
    expect(problems.map((one) => one.path)).toEqual([path]);
    expect(problems[0]?.message).toMatch(/^"\P{Cc}*" holds a control character/u);
  });

  test.each([
    ['/srv/app/bin/shadow-agent', '', true],
    ['/var/lib/shadow-agent/shadow-agent', '', true],
    ['/srv/app2/shadow-agent', '', false],
    ['/srv/app/shadow-agent', 'where the agent is root', false],
  ])('nor by %s, which the agent could replace for root to run %s', (maker, asRoot, isRefused) => {
    const user = asRoot === '' ? { name: 'shadow-agent' } : { name: 'root', uid: 0, gid: 0 };
    const problems = unitProblems(requestOf({ maker: [maker], user }));
    expect(problems.map(({ path }) => path)).toEqual(isRefused ? ['executable'] : []);
  });

  test.each([
    ...['/', '/etc', '/var', '/var/lib', '/srv', '/usr/lib', '/home', '/home/pi', '/root', '/opt', '/tmp'],
    ...['/run', '/run/user/1000', '/usr/local/bin', '/proc/1', '/var/spool', '/lib64', '/boot/efi'],
    // The unit would have systemd give these to the agent.
    ...['/run/dbus', '/var/lib/dpkg', '/var/lib/systemd/timers'],
  ])('and none that would have its state in %s, and keep all others from it', (stateDir) => {
    expect(unitProblems(requestOf({ stateDir }))).toEqual([
      {
        path: 'stateDir',
        message: `${stateDir} is the system's or an account's; the agent keeps others out of its state`,
        hint: 'name a directory of its own, such as /var/lib/shadow-agent',
      },
    ]);
  });

  test('nor one that would have systemd take what another program keeps in the state directory', () => {
    const problems = unitProblems(requestOf({ stateDir: '/var/lib/app', isStateForeign: true }));
    expect(problems).toMatchObject([
      { path: 'stateDir', hint: expect.stringContaining('/var/lib/shadow-agent') },
    ]);
    expect(problems[0]?.message).toContain(
      '/var/lib/app is there, and holds what is not the agent’s'.replace('’', "'"),
    );
  });

  test.each([
    ...['/etc/shadow-agent/state', '/var/lib/app', '/srv/a', '/data/agent', '/home/pi/device/state'],
    ...['/home/pi/.local/state/shadow-agent', '/run/shadow-agent', '/var/spool/shadow-agent', '/data'],
    ...['/usr/local/var/shadow-agent', '/library/agent', '/root/agent/state', '/var/lib/dpkg-agent'],
  ])('but a state in %s is sound', (stateDir) => expect(unitProblems(requestOf({ stateDir }))).toEqual([]));

  test('and a state beside the configuration is sound wherever that is', () => {
    const configPath = '/home/pi/.sandbox/agent.json';
    expect(unitProblems(requestOf({ configPath, stateDir: '/home/pi/.sandbox/state' }))).toEqual([]);
  });

  test('and every other one can be written', () => {
    expect(unitProblems(requestOf({ configPath: '/etc/a b/ü/"x".json' }))).toEqual([]);
  });
});
