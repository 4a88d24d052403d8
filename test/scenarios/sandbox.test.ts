/** `bun run sandbox` as a program, in a network of its own: its ports are fixed. */
import { expect } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { netnsTest } from '../support/netns.ts';

netnsTest(
  import.meta.path,
  'on ports that others have the sandbox ends at once, and names each of them',
  async () => {
    const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-taken-'));
    const servers = [18883, 19000].map((port) => createServer().listen(port, '127.0.0.1'));
    try {
      await Promise.all(servers.map((server) => once(server, 'listening')));
      const startedMs = Date.now();
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [join(import.meta.dir, '../../src/sandbox/main.ts'), '--dir', dir],
        { encoding: 'utf8', timeout: 20_000 },
      );
      expect([status, stdout]).toEqual([1, '']);
      expect(stderr).toBe(
        'error: on 127.0.0.1 others listen on 18883 (mqtt), 19000 (s3): is a sandbox running already? "ss -ltnp" shows who it is\n',
      );
      expect(Date.now() - startedMs).toBeLessThan(10_000);
    } finally {
      for (const server of servers) server.close();
      await rm(dir, { recursive: true, force: true });
    }
  },
);

netnsTest(import.meta.path, 'a broker that finds its port taken leaves nothing running', async () => {
  const script = `
    const { brokerOf, createIot } = await import(${JSON.stringify(join(import.meta.dir, '../sandbox/iot-fixture.ts'))});
    const iot = await createIot();
    const first = await brokerOf(iot);
    await brokerOf(iot, first.port).catch((error) => console.log(error.code));
    await first.close();`;
  const { status, stdout } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect([status, stdout]).toEqual([0, 'EADDRINUSE\n']);
});
