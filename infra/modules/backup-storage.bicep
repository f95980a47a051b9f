// The backups, and beside them the state: leases and records of operations.
param location string
param tags object
param token string
param redundancy string
param softDeleteDays int
param immutableDays int
param immutabilityLocked bool
param coolAfterDays int
param coldAfterDays int
param lockAccount bool
param publicNetwork bool
param workspaceId string
param backupPrincipalId string
param restorePrincipalId string
param prunePrincipalId string

@description('Name of the role that reads and adds blobs.')
param addBlobsRole string

@description('Name of the role that reads and deletes blobs.')
param pruneBlobsRole string

@description('Whether restores write safety copies of what they replace.')
param restoreAdds bool

var blobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var rolesOnBackups = [
  { role: addBlobsRole, principalId: backupPrincipalId }
  { role: blobDataReader, principalId: restorePrincipalId }
  { role: pruneBlobsRole, principalId: prunePrincipalId }
]
var rolesOfReplacements = restoreAdds ? [{ role: addBlobsRole, principalId: restorePrincipalId }] : []
var rolesOnState = [
  { role: blobDataContributor, principalId: backupPrincipalId }
  { role: blobDataContributor, principalId: restorePrincipalId }
  { role: blobDataContributor, principalId: prunePrincipalId }
]

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'stkvbackup${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetwork ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: publicNetwork ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: softDeleteDays }
    containerDeleteRetentionPolicy: { enabled: true, days: softDeleteDays }
    // Nothing is ever overwritten, so versions would only keep what was pruned, for ever.
    isVersioningEnabled: false
  }
}

resource backups 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'keyvault-backups'
  properties: { publicAccess: 'None' }
}

// Of the container, not of versions: the latter would let blobs be overwritten by a new version. It begins unlocked;
// locking is a step of its own, described in README.md.
resource immutability 'Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies@2024-01-01' = if (immutableDays > 0 && !immutabilityLocked) {
  parent: backups
  name: 'default'
  properties: {
    immutabilityPeriodSinceCreationInDays: immutableDays
    allowProtectedAppendWrites: false
  }
}

resource state 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: 'keyvault-backups-state'
  properties: { publicAccess: 'None' }
}

// Old blobs become cheaper. Never archived, which would take hours to read; never deleted, which is for retention.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2024-01-01' = {
  parent: account
  name: 'default'
  dependsOn: [blobs]
  properties: {
    policy: {
      rules: [
        {
          name: 'cheaper-with-age'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['${backups.name}/vaults/'] }
            actions: {
              baseBlob: {
                tierToCool: { daysAfterModificationGreaterThan: coolAfterDays }
                tierToCold: { daysAfterModificationGreaterThan: coldAfterDays }
              }
            }
          }
        }
      ]
    }
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (lockAccount) {
  scope: account
  name: 'keep-backups'
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the backups of key vaults.'
  }
}

resource accessToBackups 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for access in concat(rolesOnBackups, rolesOfReplacements): {
  scope: backups
  name: guid(backups.id, access.principalId, access.role)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', access.role)
    principalId: access.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource accessToState 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for access in rolesOnState: {
  scope: state
  name: guid(state.id, access.principalId, access.role)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', access.role)
    principalId: access.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blobs
  name: 'keyvault-backup'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageRead', enabled: true }
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

output id string = account.id
output backupContainer string = backups.name
output backupsUrl string = '${account.properties.primaryEndpoints.blob}${backups.name}'
output stateUrl string = '${account.properties.primaryEndpoints.blob}${state.name}'
