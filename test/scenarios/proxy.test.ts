/** A proxy between the device and everything. With the compiled executable, on Debian's tinyproxy. */
import { expect } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { startTinyproxy, tinyproxy } from '../support/tinyproxy.ts';
import { toolTest } from '../support/tools.ts';
import { scenario, sha256, type World } from '../support/world.ts';

const user = 'jo';
const password = 'hunter22-x';
// As it may stand in a URL: percent-encoded.
const login = `${user}:hunter%32%32-x`;
const hoge = sha256('hoge\n');

function proxyTest(
  name: string,
  play: (world: World, proxy: Awaited<ReturnType<typeof startTinyproxy>>) => Promise<void>,
): void {
  toolTest([tinyproxy], name, async () => {
    const proxy = await startTinyproxy(user, password);
    try {
      await scenario((world) => play(world, proxy));
    } finally {
      await proxy.close();
    }
  });
}

/** The three services of a world, as a proxy is asked for them. */
function services({ sandbox }: World): string[] {
  const { broker, credentials, s3 } = sandbox;
  return [broker.port, credentials.port, s3.port].map((port) => `127.0.0.1:${port}`).sort();
}

proxyTest(
  'with "proxy", MQTT, credentials and S3 go through it, and its password is nowhere',
  async (world, proxy) => {
    const address = `http://${login}@127.0.0.1:${proxy.port}`;
    const run = await world.run([
      '--config',
      world.device.configPath,
      '--proxy',
      address,
      '--log-level',
      'debug',
    ]);
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    expect(world.file()).toBe('hoge\n');
    expect([...new Set(proxy.tunnels())].sort()).toEqual(services(world));
    const status = await world.run(['status', '--config', world.device.configPath, '--json']);
    await status.exit;
    const told = [
      run.log,
      run.output,
      status.log,
      status.output,
      JSON.stringify(world.state('reported')),
    ].join('\n');
    expect(told).not.toContain('hunter22');
    expect(told).not.toContain(Buffer.from(`${user}:${password}`).toString('base64'));
  },
);

proxyTest(
  'with HTTPS_PROXY in the environment as well, but not to the hosts of NO_PROXY',
  async (world, proxy) => {
    const { broker } = world.sandbox;
    const environment = {
      HTTPS_PROXY: `http://${login}@127.0.0.1:${proxy.port}`,
      NO_PROXY: `localhost,127.0.0.1:${broker.port}`,
    };
    await world.run(['--config', world.device.configPath], world.device.dir, environment);
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    const direct = `127.0.0.1:${broker.port}`;
    expect([...new Set(proxy.tunnels())].sort()).toEqual(
      services(world).filter((service) => service !== direct),
    );
  },
);

proxyTest(
  'without "proxy", and by HTTP_PROXY or ALL_PROXY, nothing goes through it',
  async (world, proxy) => {
    const address = `http://${login}@127.0.0.1:${proxy.port}`;
    const environment = { HTTP_PROXY: address, http_proxy: address, ALL_PROXY: address };
    await world.run(['--config', world.device.configPath], world.device.dir, environment);
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    expect(proxy.tunnels()).toEqual([]);
  },
);

proxyTest('a wrong password is told with what to write, and mended by a restart', async (world, proxy) => {
  const to = `127.0.0.1:${proxy.port}`;
  const run = await world.run(['--config', world.device.configPath, '--proxy', `http://jo:wrong-one@${to}`]);
  await run.logged(
    new RegExp(`Cannot connect to the broker \\S+ through the proxy ${to}: the proxy answers 40[17]`),
  );
  expect(run.log).toContain('set them in \\"proxy\\"');
  expect(run.log).not.toContain('wrong-one');
  expect(await run.stop()).toBe(0);
  const bare = await world.run(['--config', world.device.configPath, '--proxy', `http://${to}`]);
  await bare.logged(/the proxy answers 407/);
  expect(bare.log).toContain('wants a user and password: set them in \\"proxy\\"');
  expect(world.sandbox.broker.connects).toBe(0);
  expect(await bare.stop()).toBe(0);
  const mended = await world.run(['--config', world.device.configPath, '--proxy', `http://${login}@${to}`]);
  await world.put('test.txt', 'hoge\n');
  await world.inSync(hoge);
  expect(mended.log).not.toContain('the proxy answers');
  expect(await readFile(world.device.configPath, 'utf8')).not.toContain('proxy');
});
