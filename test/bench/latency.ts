/** How soon a small update is there, and a first answer: beside the tutorial's program. */
import { pythonClients } from '../support/clients-python.ts';
import { quietBucket } from '../support/faults.ts';
import { TutorialDevice, tutorialThing } from '../support/tutorial-device.ts';
import type { World } from '../support/world.ts';
import { installedMs } from './delta.ts';
import { extent } from './extent.ts';
import type { Row } from './footprint.ts';
import { median, spread } from './measure.ts';

const rounds = extent(9, 1);
const starts = extent(5, 1);

/** What an agent and the tutorial's program take for a small update, and until their first get is answered. */
export async function latency(world: World): Promise<Row[]> {
  const { sandbox } = world;
  const [python] = await pythonClients();
  const registered = await sandbox.device(tutorialThing);
  sandbox.s3.store.createBucket(quietBucket);
  const first = { ours: [] as number[], tutorial: [] as number[] };
  let tutorial: TutorialDevice | undefined;
  for (let start = 0; start < starts; start += 1) {
    for (const run of world.runs) await run.stop();
    await tutorial?.stop();
    first.ours.push(await answered(world, 'test-thing', () => void world.run()));
    if (python?.found !== true) continue;
    const startTutorial = () => {
      tutorial = new TutorialDevice(python.path, world, registered);
    };
    first.tutorial.push(await answered(world, tutorialThing, startTutorial));
  }
  const delta = await smallDeltas(world, tutorial);
  await tutorial?.stop();
  return [
    besideTutorial('delta to installed, 5 bytes, ms', delta, '0.25'),
    besideTutorial('start to first get answered, ms', first, '0.3'),
  ];
}

/** By contender, one for each round. */
interface Both {
  ours: number[];
  tutorial: number[];
}

function besideTutorial(figure: string, { ours, tutorial }: Both, aim: string): Row {
  return {
    figure,
    ours: spread(ours, 0),
    beside: `${spread(tutorial, 0)}, tutorial`,
    'ours / its': (median(ours) / median(tutorial)).toFixed(2),
    aim,
    rounds: { ours, tutorial },
  };
}

/** Small updates by each in turn. */
async function smallDeltas(world: World, tutorial: TutorialDevice | undefined): Promise<Both> {
  const delta: Both = { ours: [], tutorial: [] };
  const [run] = world.runs.slice(-1);
  const agent = { thing: 'test-thing', path: world.path(), pid: run?.child.pid ?? 0 };
  for (let round = 0; round < rounds; round += 1) {
    delta.ours.push(await installedMs(world, agent, round));
    if (tutorial === undefined) continue;
    const { path, pid } = tutorial;
    delta.tutorial.push(await installedMs(world, { thing: tutorialThing, path, pid }, round));
  }
  return delta;
}

/** Milliseconds from the start of a program until the shadow service has answered its get. */
async function answered(world: World, thing: string, start: () => void): Promise<number> {
  const { messages } = world.sandbox.broker;
  const seen = messages.length;
  const startedMs = performance.now();
  start();
  await soon(() =>
    messages
      .slice(seen)
      .some(
        ({ topic }) =>
          topic.startsWith(`$aws/things/${thing}/shadow/get/`) && /accepted|rejected/.test(topic),
      ),
  );
  const ms = performance.now() - startedMs;
  await new Promise((resolve) => setTimeout(resolve, 500));
  return ms;
}

/** Looks every millisecond. */
async function soon(isTrue: () => boolean): Promise<void> {
  for (const deadlineMs = performance.now() + 30_000; !isTrue(); ) {
    if (performance.now() > deadlineMs) throw new Error('waited 30 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
