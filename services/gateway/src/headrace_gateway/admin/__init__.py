"""``/v1/admin``: for those who run the pipeline; a module for each subject.

A caller with a tenant works on what is its tenant's; an operator (see ``principals``)
on everything. Every act is in the audit topic before it is done.
"""
