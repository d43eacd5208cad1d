"""Layouts whose masks are drawn from the files of annotation programs."""
