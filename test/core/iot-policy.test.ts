import { describe, expect, test } from 'bun:test';
import { type IotAction, policyStatement, regionOfHost } from '../../src/core/iot-policy.ts';

describe('a statement of an IoT policy', () => {
  test.each<[IotAction, string]>([
    ['Connect', 'client'],
    ['Publish', 'topic'],
    ['Subscribe', 'topicfilter'],
    ['Receive', 'topic'],
  ])('allows iot:%s on a %s of the region of the endpoint', (action, kind) => {
    expect(JSON.parse(policyStatement('abc-ats.iot.eu-west-1.amazonaws.com', action, ['a/b']))).toEqual({
      Effect: 'Allow',
      Action: `iot:${action}`,
      Resource: `arn:aws:iot:eu-west-1:ACCOUNT:${kind}/a/b`,
    });
  });

  test('names the partition, several resources, and a region that no host tells', () => {
    expect(policyStatement('abc.ats.iot.cn-north-1.amazonaws.com.cn', 'Connect', ['a'])).toContain(
      '"arn:aws-cn:iot:cn-north-1:ACCOUNT:client/a"',
    );
    expect(JSON.parse(policyStatement('127.0.0.1', 'Receive', ['a', 'b'])).Resource).toEqual([
      'arn:aws:iot:REGION:ACCOUNT:topic/a',
      'arn:aws:iot:REGION:ACCOUNT:topic/b',
    ]);
  });
});

test.each([
  ['abc-ats.iot.us-east-1.amazonaws.com', 'us-east-1'],
  ['abc.ats.iot.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
  ['127.0.0.1', undefined],
  ['iot.us-east-1.amazonaws.com.example.com', undefined],
])('the region of %s is %s', (host, region) => {
  expect(regionOfHost(host)).toBe(region);
});
