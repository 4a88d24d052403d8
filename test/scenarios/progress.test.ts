/** What the log tells of a download that runs. With the compiled executable, whose stderr is no terminal here. */
import { expect, test } from 'bun:test';
import { noise, scenario, sha256 } from '../support/world.ts';

test(
  'a download of 45 s is told once in the log, with bytes, size and rate, and nothing is rewritten in place',
  () =>
    scenario(async (world) => {
      const big = noise(4_500_000);
      await world.put('big', big);
      const run = await world.run([
        ...['--config', world.device.configPath],
        ...['--s3-max-bytes-per-second', '100000'],
      ]);
      await world.inSync(sha256(big), 's3', 80_000);
      const lines = run.log.split('\n').filter((line) => line.includes('Downloading'));
      expect(lines.length).toBe(1);
      expect(lines[0]).toMatch(
        / INFO {4}Downloading file=s3 bytes=[34]\d{6} size=4500000 bytesPerSecond=([89]\d|1\d\d)\d{3}$/,
      );
      for (const control of ['\r', '\u001b']) expect(run.log).not.toContain(control);
    }),
  100_000,
);
