/** `shadow-agent doctor` on what is wrong with the device itself. With the compiled executable. */
import { expect, test } from 'bun:test';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examine, failures, finding } from '../support/doctor.ts';
import { libfaketime, withClockOf } from '../support/fake-time.ts';
import { asNobody, setpriv } from '../support/nobody.ts';
import { mounts, onSmallDisk } from '../support/small-disk.ts';
import { root, toolTest } from '../support/tools.ts';
import { executable, noise, Run, scenario, until, type World } from '../support/world.ts';

const dayMs = 86_400_000;
const text = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** Gives the device a certificate of its thing with these dates. */
async function useCertificate(world: World, dates: { notBeforeMs: number; notAfterMs: number }) {
  const { pki, things } = world.sandbox;
  const pair = await pki.issueDevice('test-thing', dates);
  things.register(pair.cert, { things: ['test-thing'] });
  writeFileSync(join(world.device.dir, 'certificate.pem'), pair.cert);
  writeFileSync(join(world.device.dir, 'private.key'), pair.key);
}

test('an expired certificate is told with its date and what to type; the broker that refuses it blames no policy', () =>
  scenario(async (world) => {
    const notAfterMs = Date.now() - 2 * dayMs;
    await useCertificate(world, { notBeforeMs: Date.now() - 9 * dayMs, notAfterMs });
    const found = await examine(world);
    const { verdict, message, hint } = finding(found, 'certificate');
    expect(verdict).toBe('fail');
    expect(message).toContain(`expired at ${text(notAfterMs)}`);
    expect(message).toContain(`now is ${text(Date.now())}`);
    expect(hint).toContain('aws iot create-keys-and-certificate --set-as-active');
    expect(hint).toContain('attach-thing-principal --thing-name test-thing');
    expect(failures(found)).toEqual(['certificate', 'mqtt', 'credentials']);
    for (const name of ['mqtt', 'credentials']) {
      expect(finding(found, name)).toMatchObject({
        hint: expect.stringContaining('mend the "certificate" above first'),
        policy: null,
      });
    }
    expect(finding(found, 'credentials').message).toMatch(/closed unexpectedly$/);
  }));

test('a certificate that is about to expire is a warning with the days that are left', () =>
  scenario(async (world) => {
    await useCertificate(world, { notBeforeMs: Date.now() - dayMs, notAfterMs: Date.now() + 5.5 * dayMs });
    const found = await examine(world);
    expect(finding(found, 'certificate')).toMatchObject({
      verdict: 'warn',
      message: expect.stringContaining('(5 days left)'),
      hint: expect.stringContaining('aws iot create-keys-and-certificate'),
    });
  }));

test('a certificate that is not valid yet is told with its date, the present one, and the clock to look at', () =>
  scenario(async (world) => {
    const notBeforeMs = Date.now() + 3 * dayMs;
    await useCertificate(world, { notBeforeMs, notAfterMs: notBeforeMs + 9 * dayMs });
    const found = await examine(world);
    const { verdict, message, hint } = finding(found, 'certificate');
    expect(verdict).toBe('fail');
    expect(message).toContain(`not valid before ${text(notBeforeMs)}`);
    expect(message).toContain(`now is ${text(Date.now())}`);
    expect(hint).toContain('the clock of AWS says so, too: make a new one with "aws iot create-keys');
  }));

test('a state file that is rubbish is a warning that nothing has to be done', () =>
  scenario(async (world) => {
    mkdirSync(join(world.device.dir, 'state'), { mode: 0o700 });
    writeFileSync(join(world.device.dir, 'state', 'state.json'), '{"version":1,"files":[{}]}');
    const found = await examine(world);
    expect(failures(found)).toEqual([]);
    expect(finding(found, 'state')).toMatchObject({
      verdict: 'warn',
      message: expect.stringMatching(/state\.json is not readable as the agent's$/),
      hint: expect.stringContaining('nothing is to be done'),
    });
  }));

toolTest([mounts], 'an object that is larger than the room for it is told with both sizes', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-room-'));
  try {
    await onSmallDisk(dir, '2m', (mounted) =>
      scenario(
        async (world) => {
          await world.put('fits', noise(1_500_000));
          const fits = await examine(world);
          expect(failures(fits)).toEqual([]);
          expect(finding(fits, 'targets').message).toMatch(/has room for 2\.0 MB; the object takes 1\.5 MB$/);
          await world.put('big', noise(2_050_000));
          const found = await examine(world);
          expect(failures(found)).toEqual(['targets']);
          expect(finding(found, 'targets')).toMatchObject({
            message: expect.stringMatching(/^s3: room for 2\.0 MB in \S+, .*; the object takes 2\.0 MB$/),
            hint: expect.stringContaining('free some room'),
          });
        },
        { files: [{ property: 's3', path: join(mounted, 'tmpfile') }] },
      ),
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

toolTest(
  [libfaketime],
  'where no server tells the time, a certificate that is not valid yet blames the clock first',
  () =>
    withClock('-400d', async (world) => {
      const { verdict, hint } = finding(await examine(world), 'certificate');
      expect(verdict).toBe('fail');
      expect(hint).toContain('set the clock of this device if it is wrong (timedatectl)');
    }),
);

toolTest(
  [libfaketime],
  'where no server tells the time, a certificate that is expired blames the clock first as well',
  () =>
    withClock('+20000d', async (world) => {
      const { verdict, message, hint } = finding(await examine(world), 'certificate');
      expect([verdict, message.slice(0, 10)]).toEqual(['fail', 'expired at']);
      expect(hint).toStartWith(
        'set the clock of this device if it is wrong (timedatectl); else make a new one',
      );
    }),
);

test('a file system without room is told', () =>
  scenario(
    async (world) => {
      const found = await examine(world);
      expect(failures(found)).toEqual(['targets']);
      // What /proc says of itself: it has no block at all.
      expect(finding(found, 'targets').message).toMatch(
        /^s3: room for 0 B in \/proc, where 16 MiB or 5 % stay/,
      );
    },
    { files: [{ property: 's3', path: '/proc/tmpfile' }] },
  ));

toolTest([setpriv], 'a user who may write neither target nor state is told', () =>
  asNobody((command) =>
    scenario(
      async (world) => {
        const { dir } = world.sandbox;
        const dirs = [dir, join(dir, 'things'), world.device.dir];
        for (const each of dirs) chmodSync(each, 0o555);
        chmodSync(join(world.device.dir, 'private.key'), 0o444);
        const found = await examine(world, '--no-strict');
        for (const each of dirs) chmodSync(each, 0o755);
        expect(failures(found)).toEqual(['targets', 'state']);
        expect(finding(found, 'targets').message).toMatch(/^s3: \S+ is not writable for this user: EACCES/);
        expect(finding(found, 'permissions').verdict).toBe('warn');
      },
      { command },
    ),
  ),
);

toolTest([setpriv], 'an agent of another user cannot be asked, and keeps its client id', () =>
  asNobody((command) =>
    scenario(
      async (world) => {
        const { dir } = world.sandbox;
        const agent = new Run(await executable(), ['--config', world.device.configPath], dir);
        try {
          await until('the connection', () => world.sandbox.broker.connects === 1);
          for (const each of [dir, join(dir, 'things'), world.device.dir]) chmodSync(each, 0o755);
          chmodSync(join(world.device.dir, 'state'), 0o755);
          chmodSync(join(world.device.dir, 'private.key'), 0o444);
          const found = await examine(world, '--no-strict');
          // Where the tests are not run by root, there is no other user.
          const isOther = process.geteuid?.() === 0;
          expect(finding(found, 'mqtt').verdict).toBe(isOther ? 'skip' : 'ok');
          if (isOther) {
            expect(finding(found, 'agent')).toMatchObject({
              verdict: 'warn',
              message: expect.stringMatching(/^Cannot ask the agent on \S+: EACCES$/),
              hint: expect.stringContaining('sudo -u root shadow-agent'),
            });
          }
          expect(world.sandbox.broker.connects).toBe(1);
        } finally {
          await agent.stop('SIGKILL');
        }
      },
      { command },
    ),
  ),
);

toolTest(
  [root, setpriv],
  'who asks as another user than the agent is told to ask as that one, and to change nothing',
  () =>
    asNobody((command) =>
      scenario(
        async (world) => {
          const { dir } = world.sandbox;
          for (const each of [dir, join(dir, 'things'), world.device.dir]) chmodSync(each, 0o755);
          mkdirSync(join(world.device.dir, 'state'), { mode: 0o700 });
          chownSync(join(world.device.dir, 'state'), 12345, 12345);
          chownSync(join(world.device.dir, 'private.key'), 12345, 12345);
          const found = await examine(world, '--no-strict');
          const hints = found.probes.flatMap(({ probe, hint }) =>
            hint === null ? [] : [`${probe}: ${hint}`],
          );
          const asOwner = "run this as the user that the state directory or the key is for: sudo -u '#12345'";
          for (const probe of ['identity', 'targets', 'state'])
            expect(hints.find((hint) => hint.startsWith(`${probe}: `))).toContain(asOwner);
          expect(hints.filter((hint) => /: chown|give the user/.test(hint))).toEqual([]);
          for (const ask of [['status'], ['rollback', 's3']]) {
            const run = await world.run([...ask, '--config', world.device.configPath]);
            expect(await run.exit).not.toBe(0);
            expect(run.log).toContain("sudo -u '#12345' shadow-agent");
            expect(run.log).not.toMatch(/chown|give the user/);
          }
        },
        { command },
      ),
    ),
);

/** Has the file of a device need a signature, for which the state counts. */
function verify({ device }: World): void {
  const config = JSON.parse(readFileSync(device.configPath, 'utf8'));
  const publicKeys = [Buffer.alloc(32, 7).toString('base64')];
  const files = config.files.map((file: object) => ({ ...file, verify: { publicKeys } }));
  writeFileSync(device.configPath, JSON.stringify({ ...config, files }));
}

toolTest([root], 'where root asks about the agent of another user, rights are judged for that user', () =>
  scenario(
    async (world) => {
      const { dir } = world.sandbox;
      const target = world.path('files');
      const state = join(world.device.dir, 'state');
      const key = join(world.device.dir, 'private.key');
      for (const each of [dir, join(dir, 'things'), world.device.dir]) chmodSync(each, 0o755);
      for (const each of [target, state]) mkdirSync(each, { mode: 0o755 });
      chownSync(state, 12345, 12345);
      chmodSync(world.device.configPath, 0o600);
      const found = await examine(world);
      expect(failures(found)).toEqual(['permissions', 'permissions', 'targets']);
      const told = found.probes.filter(({ verdict }) => verdict === 'fail');
      const user = 'user 12345, the user of the agent, may not';
      expect(told.map(({ message }) => message)).toEqual([
        `${user} read ${world.device.configPath}`,
        `${user} read ${key}`,
        `s3: ${user} write to ${target}`,
      ]);
      for (const { hint } of told)
        expect(hint).toMatch(/^let it in: "ls -ld \S+" .*sudo -u '#12345' shadow-agent doctor/);
      for (const each of [target, key, world.device.configPath]) chownSync(each, 12345, 12345);
      expect(failures(await examine(world))).toEqual([]);
      const stored = join(state, 'state.json');
      writeFileSync(stored, '{"version":1,"files":[]}', { mode: 0o600 });
      expect(finding(await examine(world), 'state')).toMatchObject({
        verdict: 'warn',
        message: `${stored} is not readable as the agent's`,
      });
      verify(world);
      expect(finding(await examine(world), 'state')).toMatchObject({
        verdict: 'fail',
        message: `${user} read ${stored}`,
      });
      chownSync(stored, 12345, 12345);
      expect(failures(await examine(world))).toEqual([]);
      chmodSync(dir, 0o700);
      expect(finding(await examine(world), 'targets').message).toBe(
        `s3: ${user} write to ${target}: it may not enter ${dir}`,
      );
    },
    { files: [{ property: 's3', path: 'files/tmpfile' }] },
  ),
);

toolTest(
  [setpriv],
  'that only root may give a file away is a warning to others: the service may have the right',
  () =>
    asNobody((command) =>
      scenario(
        async (world) => {
          const { dir } = world.sandbox;
          for (const each of [dir, join(dir, 'things'), world.device.dir]) chmodSync(each, 0o777);
          chmodSync(join(world.device.dir, 'private.key'), 0o444);
          const found = await examine(world, '--no-strict');
          expect(failures(found)).toEqual([]);
          expect(finding(found, 'targets')).toMatchObject({
            verdict: 'warn',
            message: expect.stringMatching(
              /^s3: Cannot give the file to 23456:23456, as "owner" says: the agent runs as /,
            ),
            hint: expect.stringContaining('CAP_CHOWN'),
          });
        },
        { command, files: [{ property: 's3', path: 'tmpfile', owner: '23456:23456' }] },
      ),
    ),
);

toolTest([libfaketime], 'a clock that is an hour off is a warning with the figure', () =>
  withClock('+3610s', async (world) => {
    const found = finding(await examine(world), 'clock');
    expect(found).toMatchObject({ verdict: 'warn', message: expect.stringMatching(/^1 h ahead of 127/) });
    expect(found.hint).toContain('NTP');
  }),
);

toolTest([libfaketime], 'a clock that is years off is told where certificates are refused for it', () =>
  withClock('-400d', async (world) => {
    const found = await examine(world);
    expect(failures(found)).toContain('tls data');
    expect(finding(found, 'tls data').hint).toMatch(/the clock of this device says 202\d-.*NTP/);
  }),
);

async function withClock(clock: string, play: (world: World) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-clock-'));
  try {
    const file = join(dir, 'clock');
    await writeFile(file, `${clock}\n`);
    await scenario(play, { command: await withClockOf(file) });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
