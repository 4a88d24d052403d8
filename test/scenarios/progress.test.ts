/** What the log tells of a download that runs. With the compiled executable, whose stderr is no terminal here. */
import { expect, test } from 'bun:test';
import { noise, scenario, sha256 } from '../support/world.ts';

test(
  'a download of 22 s is told in the log for each tenth, with bytes, size and rate, and nothing is rewritten in place',
  () =>
    scenario(async (world) => {
      const big = noise(2_200_000);
      await world.put('big', big);
      const run = await world.run([
        ...['--config', world.device.configPath],
        ...['--s3-max-bytes-per-second', '100000'],
      ]);
      await world.inSync(sha256(big), 's3', 80_000);
      const lines = run.log.split('\n').filter((line) => line.includes('Downloading'));
      expect(lines.length).toBeGreaterThanOrEqual(7);
      expect(lines.length).toBeLessThanOrEqual(11);
      expect(lines[5]).toMatch(
        / INFO {4}Downloading file=s3 bytes=1\d{6} size=2200000 bytesPerSecond=([89]\d|1\d\d)\d{3}$/,
      );
      for (const control of ['\r', '\u001b']) expect(run.log).not.toContain(control);
    }),
  100_000,
);
