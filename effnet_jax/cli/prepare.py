EPILOG=""
def prepare(a: str) -> None:
    """x"""
