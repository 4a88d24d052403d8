/** How soon a small update is there, and a first answer: beside the tutorial's program. */
import { readFileSync } from 'node:fs';
import { pythonClients } from '../support/clients-python.ts';
import { quietBucket } from '../support/faults.ts';
import { TutorialDevice, tutorialThing } from '../support/tutorial-device.ts';
import { scenario, sha256, type World } from '../support/world.ts';
import { extent } from './extent.ts';
import { files, type Row } from './footprint.ts';
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
  const { delta, asked } = await smallDeltas(world, tutorial);
  await tutorial?.stop();
  return [
    besideTutorial('delta to installed, 5 bytes, ms', delta, '0.25'),
    besideTutorial('of it until S3 is asked, ms', asked, ''),
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

async function smallDeltas(
  world: World,
  tutorial: TutorialDevice | undefined,
): Promise<{ delta: Both; asked: Both }> {
  const [delta, asked]: [Both, Both] = [
    { ours: [], tutorial: [] },
    { ours: [], tutorial: [] },
  ];
  for (let round = 0; round < rounds; round += 1) {
    const own = await installed(world, 'test-thing', world.path(), round);
    delta.ours.push(own.ms);
    asked.ours.push(own.askedMs);
    if (tutorial === undefined) continue;
    const its = await installed(world, tutorialThing, tutorial.path, round);
    delta.tutorial.push(its.ms);
    asked.tutorial.push(its.askedMs);
  }
  return { delta, asked };
}

/** What is left where nothing has to be waited for until it is safe: there the difference is what syncs cost. */
export async function latencyWithoutSyncs(): Promise<Row[]> {
  const rows: Row[] = [];
  const play = async (world: World) => {
    const [python] = await pythonClients();
    const registered = await world.sandbox.device(tutorialThing);
    world.sandbox.s3.store.createBucket(quietBucket);
    await answered(world, 'test-thing', () => void world.run());
    let tutorial: TutorialDevice | undefined;
    if (python?.found === true)
      await answered(world, tutorialThing, () => {
        tutorial = new TutorialDevice(python.path, world, registered);
      });
    const { delta } = await smallDeltas(world, tutorial);
    await tutorial?.stop();
    rows.push(besideTutorial('delta to installed on tmpfs, where syncs cost nothing, ms', delta, ''));
  };
  await onTmpfs(() => scenario(play, { files }));
  return rows;
}

async function onTmpfs<T>(play: () => Promise<T>): Promise<T> {
  const { TMPDIR } = process.env;
  process.env['TMPDIR'] = '/dev/shm';
  try {
    return await play();
  } finally {
    if (TMPDIR === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = TMPDIR;
  }
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

/** Milliseconds from the write to the desired state until S3 is asked, and until the file is there. */
async function installed(
  world: World,
  thing: string,
  path: string,
  round: number,
): Promise<{ askedMs: number; ms: number }> {
  const content = `${String(round).padStart(4, '0')}\n`;
  const key = `${thing}/${round}`;
  await world.sandbox.s3.store.put(quietBucket, key, content);
  const { requests } = world.sandbox.s3;
  const seen = requests.length;
  const startedMs = performance.now();
  world.sandbox.desire(thing, { s3: { url: `s3://${quietBucket}/${key}`, hash: sha256(content), size: 5 } });
  await soon(() => requests.length > seen);
  const askedMs = performance.now() - startedMs;
  await soon(() => contentOf(path) === content);
  const ms = performance.now() - startedMs;
  await new Promise((resolve) => setTimeout(resolve, 300));
  return { askedMs, ms };
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Looks every millisecond. */
async function soon(isTrue: () => boolean): Promise<void> {
  for (const deadlineMs = performance.now() + 30_000; !isTrue(); ) {
    if (performance.now() > deadlineMs) throw new Error('waited 30 s in vain');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
