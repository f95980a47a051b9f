// An example: copy what fits, and see main.bicep for what else can be set.
using './main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'keyvault-backup')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')

// Vaults may be in other resource groups and subscriptions of the same tenant.
param vaults = [
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/contoso/providers/Microsoft.KeyVault/vaults/contoso-prod'
]
param restoreVaults = [
  '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/contoso-dr/providers/Microsoft.KeyVault/vaults/contoso-dr'
]

// An empty vault that drills restore into and empty again, in the same subscription and geography; '' for no drills.
param drillVault = ''

// Which backups pruning keeps.
param keep = 'last=7,daily=35,weekly=8,monthly=12,yearly=7'

param alertEmails = [
  'on-call@contoso.example'
]

// Every blob is protected for 30 days from its creation. See README.md for the lock.
param immutableDays = 30
param backupRedundancy = 'Standard_ZRS'
param privateNetwork = false
