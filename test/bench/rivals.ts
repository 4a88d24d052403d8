/** What people would use instead: each downloads, verifies and syncs one object. */
import { join } from 'node:path';
import { pythonClients } from '../support/clients-python.ts';
import { program } from '../support/tools.ts';

export interface Job {
  origin: string;
  caPath: string;
  bucket: string;
  key: string;
  sha256: string;
  /** Where the object is to go. */
  path: string;
  /** How many connections at most, where the client lets one say; else its default. */
  connections?: number;
}

export interface Rival {
  command: (job: Job) => string[];
  env: (job: Job) => Record<string, string>;
}

export const curlName = 'curl | tee | openssl';

const keys = {
  AWS_ACCESS_KEY_ID: 'AKIABENCH',
  AWS_SECRET_ACCESS_KEY: 'secret',
  AWS_DEFAULT_REGION: 'us-east-1',
};

function clientEnv({ caPath }: Job): Record<string, string> {
  return { ...keys, AWS_CA_BUNDLE: caPath, NO_PROXY: '*', AWS_EC2_METADATA_DISABLED: 'true' };
}

/** By name; those that are not installed are left out, and named on stderr. */
export async function rivals(): Promise<Map<string, Rival>> {
  const found = new Map<string, Rival>();
  const [curl, openssl, [python]] = [program('curl'), program('openssl'), await pythonClients()];
  if (curl.found && openssl.found) found.set(curlName, curlPipeline);
  else process.stderr.write('left out: curl | tee | openssl (apt-get install curl openssl)\n');
  if (python?.found === true) {
    found.set('boto3 + hashlib', boto3(python.path));
    found.set('aws s3 cp + sha256sum', awsCli(python.path));
  } else {
    process.stderr.write('left out: boto3 and aws (apt-get install python3-venv)\n');
  }
  return found;
}

export const curlPipeline: Rival = {
  command: ({ origin, caPath, bucket, key, sha256, path }) => [
    'bash',
    '-euo',
    'pipefail',
    '-c',
    `curl -sS --fail --cacert "$1" --aws-sigv4 aws:amz:us-east-1:s3 --user AKIABENCH:secret "$2" |
      tee "$3" | openssl dgst -sha256 -r | grep -q "$4"; sync "$3"`,
    'bash',
    caPath,
    `${origin}/${bucket}/${key}`,
    path,
    sha256,
  ],
  env: () => ({}),
};

function boto3(python: string): Rival {
  return {
    command: ({ origin, bucket, key, sha256, path, connections = 10 }) => [
      python,
      join(import.meta.dir, 'boto3_download.py'),
      ...[origin, bucket, key, path, sha256, String(connections)],
    ],
    env: clientEnv,
  };
}

function awsCli(python: string): Rival {
  return {
    command: ({ origin, bucket, key, sha256, path, connections = 10 }) => [
      'bash',
      '-euo',
      'pipefail',
      '-c',
      `printf '[default]\\ns3 =\\n  max_concurrent_requests = %s\\n' "$6" >"$4.aws"
       "$1" -m awscli s3 cp --quiet --endpoint-url "$2" "s3://$3" "$4"
       sha256sum "$4" | grep -q "$5"; sync "$4"`,
      'bash',
      ...[python, origin, `${bucket}/${key}`, path, sha256, String(connections)],
    ],
    env: (job) => ({ ...clientEnv(job), AWS_CONFIG_FILE: `${job.path}.aws` }),
  };
}
