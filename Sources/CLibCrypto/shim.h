// SPDX-License-Identifier: Apache-2.0
// The low-level digests are deprecated in OpenSSL 3, but only they let a hash in progress be saved and resumed, which
// is how an upload continues after a restart without reading its first part again (docs/adr/0002).
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
