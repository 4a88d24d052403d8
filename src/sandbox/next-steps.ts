import { join, relative, resolve } from 'node:path';
import { hostTarget } from '../../build.ts';
import { shellWord } from '../core/shell.ts';
import { bucketName, type Device } from './sandbox.ts';

/** Fixed, so that agent.json and the shell variables stay good over a restart. */
export const ports = { mqtt: 18883, credentials: 18443, s3: 19000, dataPlane: 18444, controlPlane: 18445 };

/** What to type once a sandbox serves from a directory; the default one need not be named. */
export function nextSteps(
  dir: string,
  { dir: deviceDir, configPath }: Pick<Device, 'dir' | 'configPath'>,
): string {
  const here = (path: string) => shellWord(relative('.', path));
  const sandbox = dir === resolve('.sandbox') ? 'bun run sandbox' : `bun run sandbox --dir ${here(dir)}`;
  return `The sandbox is up: MQTT ${ports.mqtt}, credentials ${ports.credentials}, S3 ${ports.s3}, shadows over HTTPS ${ports.dataPlane}

In a second terminal, run the device:

${howToRun(here(configPath))}

In a third one, upload something and look at the device's file:

  echo hoge > hoge.txt
  ${sandbox} put hoge.txt s3://${bucketName}/test.txt
  cat ${here(join(deviceDir, 'tmpfile'))}
  ${sandbox} shadow

The AWS CLI works as well, after:  . ${here(join(dir, 'env'))}

Stop with Ctrl-C.`;
}

/** The executable where the build makes one for this machine, else the sources. */
function howToRun(config: string): string {
  if (process.platform !== 'linux') return `  bun src/main.ts --config ${config}`;
  const target = hostTarget();
  return `  bun run build --target ${target}\n  dist/shadow-agent-${target} --config ${config}`;
}
