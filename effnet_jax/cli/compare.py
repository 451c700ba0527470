EPILOG=""
def compare(a: str) -> None:
    """x"""
