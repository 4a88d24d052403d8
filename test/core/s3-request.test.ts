import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { Artifact } from '../../src/core/artifact.ts';
import {
  encodeKey,
  objectUrl,
  parseContentRange,
  parseS3Error,
  partitionSuffix,
  type S3Address,
  usesVirtualHost,
} from '../../src/core/s3-request.ts';

const aws: S3Address = { region: 'us-east-1', pathStyle: false, dualStack: false };

function artifact(bucket: string, key: string, versionId?: string): Artifact {
  const url = `s3://${bucket}/${key}`;
  return { url, bucket, key, sha256: '0'.repeat(64), ...(versionId === undefined ? {} : { versionId }) };
}

/** Any text without dot segments, which a desired value must not have. */
const key = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1 }),
    fc.string({ unit: fc.constantFrom(...'./%?#\\ +~a'), minLength: 1 }),
  )
  .filter((text) => !text.split('/').some((segment) => segment === '.' || segment === '..'));

describe('encodeKey()', () => {
  test.each([
    ['a/b/c.txt', 'a/b/c.txt'],
    ['AZaz09-_.~', 'AZaz09-_.~'],
    ['a b', 'a%20b'],
    ['a+b', 'a%2Bb'],
    ['a%20b', 'a%2520b'],
    ['%2e%2e/x', '%252e%252e/x'],
    [`!'()*`, '%21%27%28%29%2A'],
    ['a?b#c', 'a%3Fb%23c'],
    ['a\\b', 'a%5Cb'],
    [':@&=,;$', '%3A%40%26%3D%2C%3B%24'],
    ['"<>[]{}|^`', '%22%3C%3E%5B%5D%7B%7D%7C%5E%60'],
    ['//a//b//', '//a//b//'],
    ['é', '%C3%A9'],
    ['日本', '%E6%97%A5%E6%9C%AC'],
    ['🎉', '%F0%9F%8E%89'],
    ['a\n\t\u0001', 'a%0A%09%01'],
    ['', ''],
  ])('%p becomes %p', (plain, encoded) => {
    expect(encodeKey(plain)).toBe(encoded);
  });

  test('gives only unreserved characters, slashes and %XX in upper case, and is undone by decoding', () => {
    fc.assert(
      fc.property(key, (text) => {
        const encoded = encodeKey(text);
        expect(encoded).toMatch(/^(?:[A-Za-z0-9\-_.~/]|%[0-9A-F]{2})*$/);
        expect(decodeURIComponent(encoded)).toBe(text);
      }),
      { numRuns: 500 },
    );
  });
});

describe('partitionSuffix()', () => {
  test.each([
    ['us-east-1', 'amazonaws.com'],
    ['ap-northeast-1', 'amazonaws.com'],
    ['us-gov-west-1', 'amazonaws.com'],
    ['cn-north-1', 'amazonaws.com.cn'],
    ['cn-northwest-1', 'amazonaws.com.cn'],
    ['eusc-de-east-1', 'amazonaws.eu'],
  ])('%s is under %s', (region, suffix) => {
    expect(partitionSuffix(region)).toBe(suffix);
  });
});

describe('usesVirtualHost()', () => {
  test.each<[string, string, boolean]>([
    ['a plain name', 'my-bucket', true],
    ['three characters', 'abc', true],
    ['63 characters', 'a'.repeat(63), true],
    ['digits', '123456789012', true],
    ['hyphens within', 'a--b', true],
    ['two characters', 'ab', false],
    ['64 characters', 'a'.repeat(64), false],
    ['a dot, which the wildcard certificate does not cover', 'my.bucket', false],
    ['an upper-case letter', 'My-bucket', false],
    ['an underscore', 'my_bucket', false],
    ['a hyphen at the start', '-bucket', false],
    ['a hyphen at the end', 'bucket-', false],
    ['a line break behind it', 'bucket\n', false],
  ])('%s', (_, bucket, expected) => {
    expect(usesVirtualHost(bucket, aws)).toBe(expected);
  });

  test.each<[string, boolean]>([
    ['https://s3.example.com', true],
    ['https://localhost:9000', true],
    ['https://127.0.0.1:9000', false],
    ['https://10.0.0.1', false],
    ['https://127.1:9000', false],
    ['https://[::1]:9000', false],
    ['https://[2001:db8::1]', false],
  ])('the server %s takes the bucket in its name: %p', (endpoint, expected) => {
    expect(usesVirtualHost('bucket', { ...aws, endpoint })).toBe(expected);
  });

  test('path style, where it is asked for, is used for every bucket', () => {
    expect(usesVirtualHost('bucket', { ...aws, pathStyle: true })).toBe(false);
    expect(usesVirtualHost('bucket', { ...aws, pathStyle: true, endpoint: 'https://s3.example.com' })).toBe(
      false,
    );
  });
});

describe('objectUrl()', () => {
  test.each<[string, string, Partial<S3Address>, string]>([
    ['a bucket in the host name', 'bucket', {}, 'https://bucket.s3.us-east-1.amazonaws.com/a/b'],
    ['a bucket with a dot in the path', 'my.bucket', {}, 'https://s3.us-east-1.amazonaws.com/my.bucket/a/b'],
    ['an old bucket in the path', 'My_Bucket', {}, 'https://s3.us-east-1.amazonaws.com/My_Bucket/a/b'],
    ['path style', 'bucket', { pathStyle: true }, 'https://s3.us-east-1.amazonaws.com/bucket/a/b'],
    ['China', 'bucket', { region: 'cn-north-1' }, 'https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b'],
    ['GovCloud', 'bucket', { region: 'us-gov-west-1' }, 'https://bucket.s3.us-gov-west-1.amazonaws.com/a/b'],
    ['dual stack', 'bucket', { dualStack: true }, 'https://bucket.s3.dualstack.us-east-1.amazonaws.com/a/b'],
    [
      'dual stack in the path',
      'my.bucket',
      { dualStack: true },
      'https://s3.dualstack.us-east-1.amazonaws.com/my.bucket/a/b',
    ],
    [
      'dual stack in China',
      'bucket',
      { dualStack: true, region: 'cn-north-1' },
      'https://bucket.s3.dualstack.cn-north-1.amazonaws.com.cn/a/b',
    ],
    [
      'a server at an address',
      'bucket',
      { endpoint: 'https://127.0.0.1:9000' },
      'https://127.0.0.1:9000/bucket/a/b',
    ],
    [
      'a server at an IPv6 address',
      'bucket',
      { endpoint: 'https://[::1]:9000/' },
      'https://[::1]:9000/bucket/a/b',
    ],
    [
      'a server with a name',
      'bucket',
      { endpoint: 'http://s3.local:9000' },
      'http://bucket.s3.local:9000/a/b',
    ],
    [
      'a server that wants the path',
      'bucket',
      { endpoint: 'https://s3.local', pathStyle: true },
      'https://s3.local/bucket/a/b',
    ],
    [
      'a server, for which dual stack says nothing',
      'bucket',
      { endpoint: 'https://s3.local', dualStack: true },
      'https://bucket.s3.local/a/b',
    ],
  ])('%s', (_, bucket, address, expected) => {
    expect(objectUrl(artifact(bucket, 'a/b'), { ...aws, ...address })).toBe(expected);
  });

  test.each([
    ['null', 'null'],
    ['3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY-MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo_~', undefined],
    ['a+b/c=d&versionId=e', 'a%2Bb%2Fc%3Dd%26versionId%3De'],
    [`a b%20#?!'()*é`, 'a%20b%2520%23%3F%21%27%28%29%2A%C3%A9'],
  ])('the version %p is encoded as one parameter', (versionId, encoded = versionId) => {
    const url = objectUrl(artifact('bucket', 'a?b'), aws);
    expect(objectUrl(artifact('bucket', 'a?b', versionId), aws)).toBe(`${url}?versionId=${encoded}`);
    const parsed = new URL(objectUrl(artifact('bucket', 'a?b', versionId), aws));
    expect([...parsed.searchParams]).toEqual([['versionId', versionId]]);
  });

  const buckets: Array<[string, string, string, string]> = [
    ['in the host name', 'bucket', 'bucket.s3.us-east-1.amazonaws.com', '/'],
    ['in the path', 'my.bucket', 's3.us-east-1.amazonaws.com', '/my.bucket/'],
  ];
  test.each(buckets)('a URL parser changes no byte of a key, bucket %s', (_, bucket, host, path) => {
    fc.assert(
      fc.property(
        key,
        fc.option(fc.string({ unit: 'binary', minLength: 1 }), { nil: undefined }),
        (text, versionId) => {
          const href = objectUrl(artifact(bucket, text, versionId), aws);
          const url = new URL(href);
          expect(url.href).toBe(href);
          expect(url.pathname).toBe(`${path}${encodeKey(text)}`);
          expect(url.host).toBe(host);
          expect(url.hash).toBe('');
          expect(url.searchParams.get('versionId') ?? undefined).toBe(versionId);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('parseS3Error()', () => {
  const token = `IQoJb3JpZ2luX2VjE${'Ab9/+='.repeat(120)}`;
  const error = (inner: string) => `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${inner}</Error>`;
  const expired = 'The provided token has expired.';
  const malformed = 'The provided token is malformed or otherwise invalid.';
  const wrongRegion =
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'";

  const answers: Array<[string, string, { code: string; message: string; region?: string }]> = [
    [
      'a missing key',
      error(
        '<Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a/b</Key><RequestId>1</RequestId><HostId>2</HostId>',
      ),
      { code: 'NoSuchKey', message: 'The specified key does not exist.' },
    ],
    [
      'a refusal',
      error('<Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>1</RequestId>'),
      { code: 'AccessDenied', message: 'Access Denied' },
    ],
    [
      'an expired token, which is echoed',
      error(`<Code>ExpiredToken</Code><Message>${expired}</Message><Token-0>${token}</Token-0>`),
      { code: 'ExpiredToken', message: expired },
    ],
    [
      'an invalid token, which is echoed first',
      error(`<Token-0>${token}</Token-0><Code>InvalidToken</Code><Message>${malformed}</Message>`),
      { code: 'InvalidToken', message: malformed },
    ],
    [
      'a wrong signature, with the request that S3 saw',
      error(
        `<Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match.</Message><AWSAccessKeyId>ASIA</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256</StringToSign><CanonicalRequest>GET\n/\n\nx-amz-security-token:${token}\n</CanonicalRequest>`,
      ),
      { code: 'SignatureDoesNotMatch', message: 'The request signature we calculated does not match.' },
    ],
    [
      'a wrong region',
      error(
        `<Code>AuthorizationHeaderMalformed</Code><Message>${wrongRegion}</Message><Region>eu-west-1</Region>`,
      ),
      { code: 'AuthorizationHeaderMalformed', message: wrongRegion, region: 'eu-west-1' },
    ],
    [
      'a redirect without a region',
      error(
        '<Code>PermanentRedirect</Code><Message>Use the endpoint.</Message><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint><Bucket>b</Bucket>',
      ),
      { code: 'PermanentRedirect', message: 'Use the endpoint.' },
    ],
    [
      'an answer with line breaks',
      error('\n  <Code>SlowDown</Code>\r\n  <Message>\n Please reduce your request rate. \n</Message>\n'),
      { code: 'SlowDown', message: 'Please reduce your request rate.' },
    ],
    [
      'a region that is none',
      error('<Code>X</Code><Message>m</Message><Region>EU-WEST 1"; rm</Region>'),
      { code: 'X', message: 'm' },
    ],
    ['a code without a message', error('<Code>InternalError</Code>'), { code: 'InternalError', message: '' }],
    ['empty elements', error('<Code></Code><Message/>'), { code: '', message: '' }],
  ];
  test.each(answers)('reads %s', (_, xml, expected) => {
    const body = parseS3Error(xml);
    expect(body).toEqual(expected);
    const shown = JSON.stringify(body);
    for (let at = 0; at + 16 <= token.length; at += 1) expect(shown).not.toContain(token.slice(at, at + 16));
  });

  test.each([
    ['nothing', ''],
    ['a page', '<html><head><title>502 Bad Gateway</title></head></html>'],
    ['JSON', '{"Code":"AccessDenied","Message":"x"}'],
    ['bytes', '\u0000\ufffd\ufffd<\u0001>'],
    ['other elements', '<Codec>x</Codec><code>y</code><MyCode>z</MyCode>'],
    ['an element that is cut', '<?xml version="1.0"?><Error><Cod'],
  ])('%s gives an empty code', (_, text) => {
    expect(parseS3Error(text)).toEqual({ code: '', message: '' });
  });

  test('what is huge stays bounded, and is read in no time', () => {
    const long = 'x'.repeat(1_000_000);
    const huge = error(
      `<Code>${long}</Code><Message>${long}</Message><Region>${'a'.repeat(10_000)}</Region>`,
    );
    for (const text of [
      huge,
      '<Code>'.repeat(200_000),
      '<'.repeat(1_000_000),
      `<Message>${'<Message'.repeat(100_000)}`,
    ]) {
      const started = performance.now();
      const { code, message, region } = parseS3Error(text);
      expect(performance.now() - started).toBeLessThan(500);
      expect(code.length).toBeLessThanOrEqual(300);
      expect(message.length).toBeLessThanOrEqual(300);
      expect(region).toBeUndefined();
    }
  });
});

describe('parseContentRange()', () => {
  test.each([
    ['bytes 0-8/10', 0, 8, 10],
    ['bytes 5-9/10', 5, 9, 10],
    ['bytes 0-0/1', 0, 0, 1],
    ['bytes 1099511627776-1099511627777/1099511627778', 2 ** 40, 2 ** 40 + 1, 2 ** 40 + 2],
  ])('%s', (header, first, last, size) => {
    expect(parseContentRange(header)).toEqual({ first, last, size });
  });

  test.each([
    null,
    '',
    'bytes',
    'bytes */10',
    'bytes 0-8/*',
    'bytes 0-8',
    'bytes 0-/10',
    'bytes -8/10',
    'bytes 8-0/10',
    'bytes 5-10/10',
    'bytes 10-19/10',
    'bytes 0-0/0',
    'bytes=0-8/10',
    'bytes 0-8/10, 2-3/10',
    'bytes 0-8/10\n',
    'bytes  0-8/10',
    'bytes 0x0-0x8/10',
    'bytes 0.5-8/10',
    'bytes 1e1-2e1/99',
    'bytes -1-8/10',
    'items 0-8/10',
    'bytes 0-9007199254740993/9007199254740994',
    `bytes 0-${'9'.repeat(30)}/${'9'.repeat(31)}`,
  ])('%p is no range', (header) => {
    expect(parseContentRange(header)).toBeUndefined();
  });
});
