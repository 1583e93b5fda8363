#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the files of this directory anew, with OpenSSL 3. The passphrase is "secret".
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
for c in PBE-MD5-DES PBE-SHA1-DES PBE-SHA1-3DES PBE-SHA1-2DES; do
	openssl pkcs8 $old -topk8 -in pkcs1.pem -v1 $c -iter 10 -passout pass:secret -out pbes1-$c.pem
done
openssl pkcs8 $old -topk8 -in pkcs1.pem -v1 PBE-SHA1-RC2-40 -iter 10 -passout pass:secret -out unsupported.pem

openssl req -x509 -key pkcs1.pem -subj /CN=server.example -days 36500 -addext keyUsage=keyEncipherment -out cert.pem
openssl x509 -in cert.pem -outform der -out cert.der
openssl x509 -in cert.pem -trustout -addtrust serverAuth -out trusted.pem
openssl pkcs12 -export -inkey pkcs1.pem -in cert.pem -passout pass:secret -out secret.p12
openssl pkcs12 $old -export -legacy -inkey pkcs1.pem -in cert.pem -passout pass:secret -out legacy.p12
openssl pkcs12 -export -inkey pkcs1.pem -in cert.pem -passout pass: -out empty.p12
openssl pkcs12 -export -keypbe NONE -certpbe NONE -nomac -inkey pkcs1.pem -in cert.pem -passout pass: -out plain.p12

openssl ecparam -name prime256v1 -genkey -out ec-sec1.pem
openssl pkcs8 -topk8 -nocrypt -in ec-sec1.pem -out ec-pkcs8.pem
openssl req -x509 -key ec-sec1.pem -subj /CN=ec.example -days 36500 -out ec-cert.pem
openssl pkcs12 -export -inkey ec-sec1.pem -in ec-cert.pem -passout pass:secret -out ec.p12
openssl genpkey -algorithm ed25519 -out ed25519.pem
openssl genpkey -algorithm rsa-pss -pkeyopt rsa_keygen_bits:1024 -out pss.pem
openssl genrsa -traditional -primes 3 -out multiprime.pem 1024
openssl req -new -key pkcs1.pem -subj /CN=server.example -out request.pem
ssh-keygen -q -t rsa -b 1024 -N '' -C '' -f openssh.pem && rm openssh.pem.pub
