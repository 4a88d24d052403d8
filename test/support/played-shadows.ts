/** AWS's client for shadows on a transport that is played. */
import { Readable } from 'node:stream';
import { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';

const errorTypes: Record<number, string> = { 409: 'ConflictException', 429: 'ThrottlingException' };

/** A client whose requests are answered with a status; 200 brings a shadow. */
export function playedShadows(answer: (method: string) => Promise<number>): IoTDataPlaneClient {
  return new IoTDataPlaneClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
    maxAttempts: 5,
    requestHandler: {
      handle: async ({ method }: { method: string }) => {
        const statusCode = await answer(method);
        const body = Readable.from([Buffer.from('{"state":{},"version":1}')]);
        const errorType = errorTypes[statusCode];
        const headers = errorType === undefined ? {} : { 'x-amzn-errortype': errorType };
        return { response: { statusCode, headers, body } };
      },
    },
  });
}

export const publication = {
  property: 's3',
  release: {
    url: 's3://bucket/key',
    hash: 'ab'.repeat(32),
    size: 5,
    versionId: null,
    sequencer: '0055AED6DCD90281E5',
    uploadedAt: '2019-09-03T19:37:27.192Z',
  },
};
