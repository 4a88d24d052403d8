#!/bin/sh
# Makes a thing with a certificate of its own, and the directory with which a device is that thing: agent.json,
# certificate, private key, and the root that AWS IoT is trusted by.
#
#   src/cloud/provision.sh STACK THING DIR [GROUP]
#
# STACK is the stack of dist/template.yaml; with GROUP the thing joins a thing group, which is made where it is not there.
# FILE in the environment says where the device keeps the file, /tmp/tmpfile unless told. Needs the AWS CLI and curl.
set -eu
umask 077

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

[ $# -eq 3 ] || [ $# -eq 4 ] || fail "wrong number of arguments" "src/cloud/provision.sh STACK THING DIR [GROUP]"
stack=$1 thing=$2 dir=$3 group=${4-} file=${FILE:-/tmp/tmpfile}
[ -n "$stack" ] || fail "the name of the stack is empty" "src/cloud/provision.sh STACK THING DIR [GROUP]"
[ -n "$thing" ] || fail "the name of the thing is empty" "src/cloud/provision.sh STACK THING DIR [GROUP]"
case $thing$group in *[!a-zA-Z0-9:_-]*) fail "no name for a thing or a group" "use a-z A-Z 0-9 : _ -" ;; esac
case $file in *[\"\\[:cntrl:]]*) fail "FILE has a quote, a backslash or a control character" "choose another path" ;; esac
[ ${#thing} -le 128 ] && [ ${#group} -le 128 ] || fail "the name of a thing or a group is too long" "128 characters are the most"
case $dir in -*) fail "DIR begins with a dash" "write ./$dir" ;; esac
# A key exists once: it must not be lost to a second run.
[ ! -e "$dir/private.key" ] || fail "$dir/private.key is there already" "choose another directory"

output() {
  aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
endpoint() {
  aws iot describe-endpoint --endpoint-type "$1" --query endpointAddress --output text
}

bucket=$(output Bucket)
policy=$(output DevicePolicy)
alias=$(output RoleAlias)
property=$(output Property)
shadow=$(output ShadowName)
data=$(endpoint iot:Data-ATS)
credentials=$(endpoint iot:CredentialProvider)
# The AWS CLI says None where a stack has no outputs at all.
[ -n "$bucket" ] && [ "$bucket" != None ] && [ -n "$policy" ] && [ -n "$alias" ] || fail "the stack $stack has no outputs" "deploy dist/template.yaml, which bun run build makes"

mkdir -p "$dir"
curl -fsS https://www.amazontrust.com/repository/AmazonRootCA1.pem -o "$dir/AmazonRootCA1.pem"
# Before anything is made that is only to be finished by hand.
cat >"$dir/agent.json" <<END
{
  "thingName": "$thing",
  "endpoint": "$data",
  "credentialEndpoint": "$credentials/role-aliases/$alias/credentials",
  "cert": "certificate.pem",
  "key": "private.key",
  "ca": "AmazonRootCA1.pem",${shadow:+
  \"shadowName\": \"$shadow\",}
  "files": [{ "property": "$property", "path": "$file", "allow": ["s3://$bucket/"] }]
}
END

aws iot create-thing --thing-name "$thing" >/dev/null
if [ -n "$group" ]; then
  # Creating is refused where the group is there with other attributes or another parent.
  aws iot describe-thing-group --thing-group-name "$group" >/dev/null 2>&1 ||
    aws iot create-thing-group --thing-group-name "$group" >/dev/null
fi
certificate=$(aws iot create-keys-and-certificate --set-as-active --query certificateArn --output text \
  --certificate-pem-outfile "$dir/certificate.pem" --private-key-outfile "$dir/private.key")
# The certificate is made only once: what fails from here on is to be ended by hand, or by these lines.
cat >"$dir/attach.sh" <<END
set -e
aws iot attach-policy --policy-name "$policy" --target "$certificate"
aws iot attach-thing-principal --thing-name "$thing" --principal "$certificate"
${group:+aws iot add-thing-to-thing-group --thing-group-name "$group" --thing-name "$thing"}
END
sh "$dir/attach.sh" || fail "the certificate $certificate is made, but not attached" "mend what AWS refused, then: sh '$dir/attach.sh'"
rm "$dir/attach.sh"
echo "$dir is ready: copy it to the device, and run there: shadow-agent --config agent.json"
