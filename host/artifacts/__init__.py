"""What is fetched or built once, verified, and cached: releases, Go modules, Debian packages. Nothing here starts or
configures anything.
"""
