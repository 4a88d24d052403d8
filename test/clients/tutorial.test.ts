/** The Python program of the tutorial and the executable that replaces it, side by side on one sandbox. */
import { expect } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { bucketName } from '../../src/sandbox/sandbox.ts';
import { pythonClients } from '../support/clients-python.ts';
import { toolTest } from '../support/tools.ts';
import { TutorialDevice, tutorialThing as thingName } from '../support/tutorial-device.ts';
import { noise, scenario, sha256 } from '../support/world.ts';

const tools = await pythonClients();
const prefix = 'tutorial/';

toolTest(tools, "the tutorial's program and the executable follow the same uploads side by side", () =>
  scenario(async (world) => {
    const { sandbox } = world;
    sandbox.lambdas.route({ bucket: bucketName, prefix, target: `things/${thingName}`, property: 's3' });
    const registered = await sandbox.device(thingName);
    const tutorial = new TutorialDevice(tools[0]?.path ?? 'python3', world, registered);
    try {
      await Promise.all([world.start(), tutorial.said('the thing has no shadow yet')]);
      for (const content of ['hoge\n', 'fuga\n', noise(20_000_000)]) {
        const hash = sha256(content);
        await world.put('test.txt', content);
        await world.put(`${prefix}test.txt`, content);
        await Promise.all([world.inSync(hash), tutorial.inSync(hash)]);
        await tutorial.said(`reported ${hash}`);
        expect(sha256(await readFile(world.path()))).toBe(hash);
        expect(sha256(await readFile(tutorial.path))).toBe(hash);
      }
      const objects = { 'test.txt': 'test-thing', [`${prefix}test.txt`]: thingName };
      for (const [key, thing] of Object.entries(objects)) {
        const gets = world.gets().filter((get) => get.key === key);
        const holders = gets.map(({ accessKeyId }) => sandbox.sessions.find(accessKeyId ?? '')?.thingName);
        expect(new Set(holders)).toEqual(new Set([thing]));
      }
      expect(tutorial.output).not.toContain('wrong hash');
      expect(await tutorial.stop()).toBe(0);
    } finally {
      await tutorial.stop();
    }
  }),
);
