"""Certificates and proxies of outgoing connections, from the variables that other programs also read.

httpx2 reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR by itself.
"""

import os
from collections.abc import MutableMapping

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of requests and curl: a file of certificates, or a folder of them."""


def take_certificates(environ: MutableMapping[str, str]) -> str:
    """Set SSL_CERT_FILE or SSL_CERT_DIR to the certificates of BUNDLES if neither of the two is set.

    Return a remark for a variable that names no file; an empty text if there is none.
    """
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *BUNDLES):
        path = environ.get(name)
        if not path:
            continue
        if not os.path.exists(path):
            return f"{name} names {path}, which does not exist: no connection with TLS is possible"
        if name in BUNDLES:
            environ["SSL_CERT_DIR" if os.path.isdir(path) else "SSL_CERT_FILE"] = path
        return ""
    return ""
