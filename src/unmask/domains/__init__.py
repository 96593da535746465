"""Value domains: what they are, where they are, and what is wrong with one."""

from unmask.domains.load import DomainError, domain_folders, inspect_domain, load_domain
from unmask.domains.schema import POLES, Domain, Pole

__all__ = ["POLES", "Domain", "DomainError", "Pole", "domain_folders", "inspect_domain", "load_domain"]
