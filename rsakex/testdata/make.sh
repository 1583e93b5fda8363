#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the files of this directory anew, with OpenSSL 3, NSS and Java. The passphrase is "secret".
set -eu
cd "$(dirname "$0")"
rm -f ./*.pem ./*.der ./*.p12
old="-provider default -provider legacy"

openssl genrsa -traditional -out pkcs1.pem 1024
openssl rsa -in pkcs1.pem -traditional -outform der -out pkcs1.der
openssl pkcs8 -topk8 -nocrypt -in pkcs1.pem -out pkcs8.pem
openssl pkcs8 -topk8 -nocrypt -in pkcs1.pem -outform der -out pkcs8.der
for c in des des3 aes128 aes192 aes256; do
	openssl rsa $old -in pkcs1.pem -traditional -$c -passout pass:secret -out legacy-$c.pem
done
for prf in hmacWithSHA1 hmacWithSHA224 hmacWithSHA256 hmacWithSHA384 hmacWithSHA512; do
	openssl pkcs8 -topk8 -in pkcs1.pem -v2 aes-256-cbc -v2prf $prf -iter 10 -passout pass:secret -out pbes2-$prf.pem
done
for c in des3 aes-128-cbc aes-192-cbc; do
	openssl pkcs8 -topk8 -in pkcs1.pem -v2 $c -iter 10 -passout pass:secret -out pbes2-$c.pem
done
openssl pkcs8 $old -topk8 -in pkcs1.pem -v2 des -iter 10 -passout pass:secret -out pbes2-des.pem
openssl pkcs8 -topk8 -in pkcs1.pem -scrypt -scrypt_N 16 -passout pass:secret -out pbes2-scrypt.pem
openssl pkcs8 -topk8 -in pkcs1.pem -v2 aes-256-cbc -iter 10 -passout pass:secret -outform der -out pbes2.der
for c in PBE-MD5-DES PBE-SHA1-DES PBE-SHA1-3DES PBE-SHA1-2DES PBE-SHA1-RC2-128 PBE-SHA1-RC2-40; do
	openssl pkcs8 $old -topk8 -in pkcs1.pem -v1 $c -iter 10 -passout pass:secret -out pbes1-$c.pem
done
openssl pkcs8 $old -topk8 -in pkcs1.pem -v1 PBE-SHA1-RC4-40 -iter 10 -passout pass:secret -out unsupported.pem

openssl req -x509 -key pkcs1.pem -subj /CN=server.example -days 36500 -addext keyUsage=keyEncipherment -out cert.pem
openssl x509 -in cert.pem -outform der -out cert.der
openssl x509 -in cert.pem -trustout -addtrust serverAuth -out trusted.pem
openssl pkcs12 -export -inkey pkcs1.pem -in cert.pem -passout pass:secret -out secret.p12
openssl pkcs12 $old -export -legacy -inkey pkcs1.pem -in cert.pem -passout pass:secret -out legacy.p12
openssl pkcs12 -export -inkey pkcs1.pem -in cert.pem -passout pass: -out empty.p12
openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey pkcs1.pem -in cert.pem -passout pass: -out plain.p12

# Without a certificate, a certificate alone, and several keys.
openssl pkcs12 -export -nocerts -inkey pkcs1.pem -passout pass:secret -out nocert.p12
openssl pkcs12 -export -nokeys -in cert.pem -passout pass:secret -out nokey.p12
openssl req -x509 -newkey rsa:1024 -nodes -keyout second.tmp -subj /CN=second.example -days 36500 -out second-cert.pem
openssl pkcs12 -export -inkey second.tmp -in second-cert.pem -name second -passout pass:secret -out second.tmp.p12
openssl pkcs12 -export -inkey pkcs1.pem -in cert.pem -name first -passout pass:secret -out first.tmp.p12
for f in first second; do
	keytool -importkeystore -noprompt -srckeystore $f.tmp.p12 -srcstorepass secret -destkeystore java-two.p12 -deststoretype PKCS12 -deststorepass secret
done
# NSS writes BER: indefinite lengths, strings in pieces.
mkdir nss.tmp
certutil -N -d sql:nss.tmp --empty-password
for f in first second; do pk12util -i $f.tmp.p12 -d sql:nss.tmp -W secret; done
pk12util -o nss.p12 -n first -d sql:nss.tmp -W secret
pk12util -o nss-empty.p12 -n first -d sql:nss.tmp -W ''
pk12util -o nss-old.p12 -n first -d sql:nss.tmp -W secret -c 'PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-cbc' -C 'PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC'
pk12util -o nss-rc2.p12 -n first -d sql:nss.tmp -W secret -c 'PKCS #12 V2 PBE With SHA-1 And 128 Bit RC2 CBC' -C 'PKCS #12 V2 PBE With SHA-1 And 128 Bit RC2 CBC'
rm -r ./*.tmp ./*.tmp.p12

openssl ecparam -name prime256v1 -genkey -out ec-sec1.pem
openssl pkcs8 -topk8 -nocrypt -in ec-sec1.pem -out ec-pkcs8.pem
openssl req -x509 -key ec-sec1.pem -subj /CN=ec.example -days 36500 -out ec-cert.pem
openssl pkcs12 -export -inkey ec-sec1.pem -in ec-cert.pem -passout pass:secret -out ec.p12
openssl genpkey -algorithm ed25519 -out ed25519.pem
openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:1024 -out pss.pem
openssl genrsa -traditional -primes 3 -out multiprime.pem 1024
openssl req -new -key pkcs1.pem -subj /CN=server.example -out request.pem
ssh-keygen -q -t rsa -b 1024 -N '' -C '' -f openssh.pem && rm openssh.pem.pub
